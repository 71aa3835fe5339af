#ifndef STAGE1_H_
#define STAGE1_H_

#include "ap_fixed.h"
#include "ap_int.h"
#include "hls_stream.h"

#include "defines.h"

namespace stage1 {

// Prototype of top level function for C-synthesis
void stage1(
    hls::stream<input_t> &in_input,
    hls::stream<result_t> &layer16_out
);

// hls-fpga-machine-learning insert emulator-defines

}

#endif
