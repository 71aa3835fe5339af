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
typedef nnet::array<ap_uint<8>, 1*1> input_t;
typedef ap_int<13> conv1__node_conv2d__accum_t;
typedef nnet::array<ap_int<13>, 16*1> layer2_t;
typedef ap_int<3> conv1__node_conv2d__weight_t;
typedef ap_uint<1> conv1__node_conv2d__bias_t;
typedef nnet::array<ap_uint<4>, 16*1> layer3_t;
typedef ap_uint<1> node__symbolic_3_multiplier_t;
typedef ap_int<11> node__symbolic_3_offset_t;
typedef ap_uint<4> node_max_pool2d_accum_t;
typedef nnet::array<ap_uint<4>, 16*1> layer4_t;
typedef nnet::array<ap_uint<4>, 16*1> layer5_t;
typedef ap_int<12> node_conv2d_1_accum_t;
typedef nnet::array<ap_int<12>, 16*1> layer6_t;
typedef ap_int<3> node_conv2d_1_weight_t;
typedef ap_uint<1> node_conv2d_1_bias_t;
typedef nnet::array<ap_uint<4>, 16*1> layer7_t;
typedef ap_uint<1> node__symbolic_6_multiplier_t;
typedef ap_int<7> node__symbolic_6_offset_t;
typedef nnet::array<ap_uint<4>, 16*1> layer8_t;
typedef ap_int<12> conv3__node_conv2d_2__accum_t;
typedef nnet::array<ap_int<12>, 32*1> layer9_t;
typedef ap_int<3> conv3__node_conv2d_2__weight_t;
typedef ap_uint<1> conv3__node_conv2d_2__bias_t;
typedef nnet::array<ap_uint<4>, 32*1> layer10_t;
typedef ap_uint<1> node__symbolic_9_multiplier_t;
typedef ap_int<8> node__symbolic_9_offset_t;
typedef ap_int<13> logits__node_linear__accum_t;
typedef nnet::array<ap_int<13>, 10*1> layer12_t;
typedef ap_int<3> logits__node_linear__weight_t;
typedef ap_uint<1> logits__node_linear__bias_t;
typedef ap_uint<1> layer12_index;
typedef nnet::array<ap_int<13>, 10*1> result_t;
typedef ap_uint<1> logits__node_linear__2_multiplier_t;
typedef ap_int<4> logits__node_linear__2_offset_t;

// hls-fpga-machine-learning insert emulator-defines

}

#endif
