#ifndef NNET_REAL_VALUES_H_
#define NNET_REAL_VALUES_H_

#include "hls_stream.h"
#include <cmath>
#include <cstddef>

// Real values outside, integers inside: for the C++ that hls4ml's Python calls, never for hardware.

namespace nnet {

// Values / scale, rounded half to even and clipped, as a stream of integers.
template <class real_T, class data_T, size_t SIZE>
void enter(const real_T *values, hls::stream<data_T> &data, double scale, double low, double high, bool channels_first) {
    const size_t pixels = SIZE / data_T::size;
    for (size_t pixel = 0; pixel < pixels; pixel++) {
        data_T out;
        for (size_t channel = 0; channel < data_T::size; channel++) {
            const size_t place = channels_first ? channel * pixels + pixel : pixel * data_T::size + channel;
            const double value = std::nearbyint(double(values[place]) / scale);
            // Written so that what is no number becomes the lowest integer.
            out[channel] = typename data_T::value_type((long long)(value > low ? (value < high ? value : high) : low));
        }
        data.write(out);
    }
}

// scale[channel] * integer + offset[channel], and a softmax over the channels where one is asked for.
template <class data_T, class real_T, size_t SIZE, size_t CHANNELS>
void leave(hls::stream<data_T> &data, real_T *values, const double *scale, const double *offset, bool softmax,
           bool channels_first) {
    static_assert(data_T::size == CHANNELS, "a pixel a word");
    const size_t pixels = SIZE / CHANNELS;
    for (size_t pixel = 0; pixel < pixels; pixel++) {
        const data_T in = data.read();
        double value[CHANNELS], largest = 0, sum = 0;
        for (size_t channel = 0; channel < CHANNELS; channel++) {
            value[channel] = double((long long)in[channel]) * scale[channel] + offset[channel];
            largest = channel && largest > value[channel] ? largest : value[channel];
        }
        for (size_t channel = 0; softmax && channel < CHANNELS; channel++)
            sum += value[channel] = std::exp(value[channel] - largest);
        for (size_t channel = 0; channel < CHANNELS; channel++) {
            const size_t place = channels_first ? channel * pixels + pixel : pixel * CHANNELS + channel;
            values[place] = softmax ? value[channel] / sum : value[channel];
        }
    }
}

} // namespace nnet

#endif
