#ifndef NNET_INTEGERS_H_
#define NNET_INTEGERS_H_

#include "hls_stream.h"
#include "nnet_common.h"

// What stands between an integer accumulator and the next layer, on hls4ml's streams. A table holds one row a channel.

namespace nnet {

struct threshold_config {
    static const unsigned n_elem = 1;
    static const unsigned n_chan = 1;
    static const unsigned n_thresholds = 1;
};

// out = first[channel] + step[channel] * (how many of the channel's ascending thresholds the integer reaches)
template <class data_T, class res_T, typename CONFIG_T>
void threshold(hls::stream<data_T> &data, hls::stream<res_T> &res,
               typename CONFIG_T::threshold_t thresholds[CONFIG_T::n_chan * CONFIG_T::n_thresholds],
               typename CONFIG_T::first_t first[CONFIG_T::n_chan], typename CONFIG_T::step_t step[CONFIG_T::n_chan]) {
    static_assert(data_T::size == CONFIG_T::n_chan && res_T::size == CONFIG_T::n_chan, "a pixel a word");
ThresholdPixels:
    for (unsigned pixel = 0; pixel < CONFIG_T::n_elem / CONFIG_T::n_chan; pixel++) {
        #pragma HLS PIPELINE
        data_T in = data.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    ThresholdChannels:
        for (unsigned channel = 0; channel < CONFIG_T::n_chan; channel++) {
            #pragma HLS UNROLL
            unsigned reached = 0, unknown = CONFIG_T::n_thresholds;
            while (unknown > 0) { // halves what is not known
                const unsigned half = (unknown + 1) / 2;
                if (in[channel] >= thresholds[channel * CONFIG_T::n_thresholds + reached + half - 1]) {
                    reached += half;
                    unknown -= half;
                } else {
                    unknown = half - 1;
                }
            }
            out[channel] = first[channel] + step[channel] * ap_uint<32>(reached);
        }
        res.write(out);
    }
}

struct scale_config {
    static const unsigned n_elem = 1;
    static const unsigned n_chan = 1;
    static const unsigned shift = 0;
    static const unsigned rounding = 0; // 0 down, 1 half up, 2 half to even
    static const long long low = 0;
    static const long long high = 0;
};

// out = clip(round((in * multiplier[channel] + offset[channel]) / 2**shift))
template <class data_T, class res_T, typename CONFIG_T>
void scale(hls::stream<data_T> &data, hls::stream<res_T> &res, typename CONFIG_T::multiplier_t multiplier[CONFIG_T::n_chan],
           typename CONFIG_T::offset_t offset[CONFIG_T::n_chan]) {
    static_assert(data_T::size == CONFIG_T::n_chan && res_T::size == CONFIG_T::n_chan, "a pixel a word");
    typedef ap_int<64> wide_t;
ScalePixels:
    for (unsigned pixel = 0; pixel < CONFIG_T::n_elem / CONFIG_T::n_chan; pixel++) {
        #pragma HLS PIPELINE
        data_T in = data.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    ScaleChannels:
        for (unsigned channel = 0; channel < CONFIG_T::n_chan; channel++) {
            #pragma HLS UNROLL
            const wide_t product = wide_t(in[channel]) * wide_t(multiplier[channel]) + wide_t(offset[channel]);
            wide_t rounded = product >> CONFIG_T::shift;
            if (CONFIG_T::shift > 0 && CONFIG_T::rounding > 0) {
                const wide_t dropped = product - (rounded << CONFIG_T::shift);
                const wide_t half = wide_t(1) << (CONFIG_T::shift > 0 ? CONFIG_T::shift - 1 : 0);
                const bool odd = (rounded & wide_t(1)) != 0;
                if (dropped > half || (dropped == half && (CONFIG_T::rounding == 1 || odd)))
                    rounded = rounded + wide_t(1);
            }
            if (rounded < wide_t(CONFIG_T::low))
                rounded = CONFIG_T::low;
            if (rounded > wide_t(CONFIG_T::high))
                rounded = CONFIG_T::high;
            out[channel] = rounded;
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
