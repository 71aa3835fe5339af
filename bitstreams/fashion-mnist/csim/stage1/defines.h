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

namespace stage1 {

// hls-fpga-machine-learning insert numbers

// hls-fpga-machine-learning insert layer-precision
typedef nnet::array<ap_fixed<32,16>, 1*1> input_t;
typedef nnet::array<ap_ufixed<8,0,AP_RND_CONV,AP_SAT,0>, 1*1> layer85_t;
typedef ap_fixed<18,8> Quant_10_act_table_t;
typedef ap_fixed<17,8> Conv2D_Conv_0_accum_t;
typedef nnet::array<ap_fixed<17,8>, 16*1> Conv2D_Conv_0_result_t;
typedef ap_fixed<4,3,AP_RND_CONV,AP_SAT_SYM,0> weight92_t;
typedef ap_fixed<16,7,AP_RND_CONV,AP_SAT,0> bias92_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer69_t;
typedef ap_fixed<18,8> Relu_0_table_t;
typedef ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0> MaxPool_0_accum_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer71_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 16*1> layer96_t;
typedef ap_fixed<17,11> Conv2D_Conv_1_accum_t;
typedef nnet::array<ap_fixed<17,11>, 32*1> Conv2D_Conv_1_result_t;
typedef ap_fixed<4,0,AP_RND_CONV,AP_SAT_SYM,0> weight93_t;
typedef ap_fixed<16,10,AP_RND_CONV,AP_SAT,0> bias93_t;
typedef nnet::array<ap_ufixed<4,1,AP_RND_CONV,AP_SAT,0>, 32*1> layer73_t;
typedef ap_fixed<18,8> Relu_1_table_t;
typedef ap_fixed<18,10> Conv2D_Conv_2_accum_t;
typedef nnet::array<ap_fixed<18,10>, 32*1> Conv2D_Conv_2_result_t;
typedef ap_fixed<4,-1,AP_RND_CONV,AP_SAT_SYM,0> weight94_t;
typedef ap_fixed<16,8,AP_RND_CONV,AP_SAT,0> bias94_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 32*1> layer76_t;
typedef ap_fixed<18,8> Relu_2_table_t;
typedef ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0> MaxPool_1_accum_t;
typedef nnet::array<ap_ufixed<4,2,AP_RND_CONV,AP_SAT,0>, 32*1> layer78_t;
typedef ap_fixed<18,11> Conv2D_Conv_3_accum_t;
typedef nnet::array<ap_fixed<18,11>, 64*1> Conv2D_Conv_3_result_t;
typedef ap_fixed<4,-1,AP_RND_CONV,AP_SAT_SYM,0> weight95_t;
typedef ap_fixed<16,9,AP_RND_CONV,AP_SAT,0> bias95_t;
typedef nnet::array<ap_ufixed<4,1,AP_RND_CONV,AP_SAT,0>, 64*1> layer80_t;
typedef ap_fixed<18,8> Relu_3_table_t;
typedef ap_fixed<19,11> Dense_MatMul_0_accum_t;
typedef nnet::array<ap_fixed<19,11>, 10*1> result_t;
typedef ap_fixed<4,-1,AP_RND_CONV,AP_SAT_SYM,0> weight91_t;
typedef ap_fixed<16,8,AP_RND_CONV,AP_SAT,0> bias91_t;
typedef ap_uint<1> layer91_index;

// hls-fpga-machine-learning insert emulator-defines

}

#endif
