#ifndef STAGE0_H_
#define STAGE0_H_

#include "ap_fixed.h"
#include "ap_int.h"
#include "hls_stream.h"

#include "defines.h"

namespace stage0 {

// Prototype of top level function for C-synthesis
void stage0(
    hls::stream<input_t> &in_input,
    hls::stream<result_t> &layer13_out
);

// hls-fpga-machine-learning insert emulator-defines

}

#endif
