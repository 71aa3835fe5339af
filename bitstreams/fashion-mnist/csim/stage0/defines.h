#ifndef DEFINES_H_
#define DEFINES_H_

#include "ap_fixed.h"
#include "ap_int.h"
#include "nnet_utils/nnet_types.h"
#include <array>
#include <cstddef>
#include <cstdio>
#include <tuple>
#include <tuple>

namespace stage0 {

// hls-fpga-machine-learning insert numbers

// hls-fpga-machine-learning insert layer-precision
typedef nnet::array<ap_fixed<32,16>, 1*1> input_t;
typedef nnet::array<ap_ufixed<8,0,AP_RND_CONV,AP_SAT,0>, 1*1> layer69_t;
typedef ap_fixed<18,8> Quant_8_act_table_t;
typedef ap_fixed<17,8> Conv2D_Conv_0_accum_t;
typedef nnet::array<ap_fixed<17,8>, 16*1> Conv2D_Conv_0_result_t;
typedef ap_fixed<3,2,AP_RND_CONV,AP_SAT_SYM,0> weight75_t;
typedef ap_fixed<16,7,AP_RND_CONV,AP_SAT,0> bias75_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer56_t;
typedef ap_fixed<18,8> Relu_0_table_t;
typedef ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0> MaxPool_0_accum_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer58_t;
typedef ap_fixed<17,12> Conv2D_Conv_1_accum_t;
typedef nnet::array<ap_fixed<17,12>, 16*1> Conv2D_Conv_1_result_t;
typedef ap_fixed<3,0,AP_RND_CONV,AP_SAT_SYM,0> weight76_t;
typedef ap_fixed<16,11,AP_RND_CONV,AP_SAT,0> bias76_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer60_t;
typedef ap_fixed<18,8> Relu_1_table_t;
typedef ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0> MaxPool_1_accum_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer62_t;
typedef ap_fixed<17,12> Conv2D_Conv_2_accum_t;
typedef nnet::array<ap_fixed<17,12>, 32*1> Conv2D_Conv_2_result_t;
typedef ap_fixed<3,0,AP_RND_CONV,AP_SAT_SYM,0> weight77_t;
typedef ap_fixed<16,11,AP_RND_CONV,AP_SAT,0> bias77_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 32*1> layer64_t;
typedef ap_fixed<18,8> Relu_2_table_t;
typedef ap_fixed<17,11> Dense_MatMul_0_accum_t;
typedef nnet::array<ap_fixed<17,11>, 10*1> result_t;
typedef ap_fixed<3,-1,AP_RND_CONV,AP_SAT_SYM,0> weight74_t;
typedef ap_fixed<16,10,AP_RND_CONV,AP_SAT,0> bias74_t;
typedef ap_uint<1> layer74_index;

// hls-fpga-machine-learning insert emulator-defines

}

#endif
