#include <iostream>

#include "stage0.h"
#include "parameters.h"

namespace stage0 {

void stage0(
    hls::stream<input_t> &in_input,
    hls::stream<result_t> &layer12_out
) {

    // hls-fpga-machine-learning insert IO
    #pragma HLS INTERFACE axis port=in_input,layer12_out 
    #pragma HLS DATAFLOW

    // hls-fpga-machine-learning insert load weights
#ifndef __SYNTHESIS__
    static bool loaded_weights = false;
    if (!loaded_weights) {
        nnet::load_weights_from_txt<conv1__node_conv2d__weight_t, 144>(w2, "w2.txt");
        nnet::load_weights_from_txt<conv1__node_conv2d__bias_t, 16>(b2, "b2.txt");
        nnet::load_weights_from_txt<node__symbolic_3_multiplier_t, 16>(multiplier3, "multiplier3.txt");
        nnet::load_weights_from_txt<node__symbolic_3_offset_t, 16>(offset3, "offset3.txt");
        nnet::load_weights_from_txt<node_conv2d_1_weight_t, 2304>(w5, "w5.txt");
        nnet::load_weights_from_txt<node_conv2d_1_bias_t, 16>(b5, "b5.txt");
        nnet::load_weights_from_txt<node__symbolic_6_multiplier_t, 16>(multiplier6, "multiplier6.txt");
        nnet::load_weights_from_txt<node__symbolic_6_offset_t, 16>(offset6, "offset6.txt");
        nnet::load_weights_from_txt<conv3__node_conv2d_2__weight_t, 4608>(w8, "w8.txt");
        nnet::load_weights_from_txt<conv3__node_conv2d_2__bias_t, 32>(b8, "b8.txt");
        nnet::load_weights_from_txt<node__symbolic_9_multiplier_t, 32>(multiplier9, "multiplier9.txt");
        nnet::load_weights_from_txt<node__symbolic_9_offset_t, 32>(offset9, "offset9.txt");
        nnet::load_weights_from_txt<logits__node_linear__weight_t, 2880>(w11, "w11.txt");
        nnet::load_weights_from_txt<logits__node_linear__bias_t, 10>(b11, "b11.txt");
        nnet::load_weights_from_txt<logits__node_linear__2_multiplier_t, 10>(multiplier12, "multiplier12.txt");
        nnet::load_weights_from_txt<logits__node_linear__2_offset_t, 10>(offset12, "offset12.txt");
        loaded_weights = true;    }
#endif
    // ****************************************
    // NETWORK INSTANTIATION
    // ****************************************

    // hls-fpga-machine-learning insert layers

    hls::stream<layer2_t> layer2_out("layer2_out");
    #pragma HLS STREAM variable=layer2_out depth=676

    hls::stream<layer3_t> layer3_out("layer3_out");
    #pragma HLS STREAM variable=layer3_out depth=676

    hls::stream<layer4_t> layer4_out("layer4_out");
    #pragma HLS STREAM variable=layer4_out depth=169

    hls::stream<layer5_t> layer5_out("layer5_out");
    #pragma HLS STREAM variable=layer5_out depth=121

    hls::stream<layer6_t> layer6_out("layer6_out");
    #pragma HLS STREAM variable=layer6_out depth=121

    hls::stream<layer7_t> layer7_out("layer7_out");
    #pragma HLS STREAM variable=layer7_out depth=25

    hls::stream<layer8_t> layer8_out("layer8_out");
    #pragma HLS STREAM variable=layer8_out depth=9

    hls::stream<layer9_t> layer9_out("layer9_out");
    #pragma HLS STREAM variable=layer9_out depth=9

    auto& layer10_out = layer9_out;
    hls::stream<layer11_t> layer11_out("layer11_out");
    #pragma HLS STREAM variable=layer11_out depth=1

    nnet::conv_2d_cl<input_t, layer2_t, config2>(in_input, layer2_out, w2, b2); // conv1__node_conv2d_

    nnet::scale<layer2_t, layer3_t, config3>(layer2_out, layer3_out, multiplier3, offset3); // node__symbolic_3

    nnet::pooling2d_cl<layer3_t, layer4_t, config4>(layer3_out, layer4_out); // node_max_pool2d

    nnet::conv_2d_cl<layer4_t, layer5_t, config5>(layer4_out, layer5_out, w5, b5); // node_conv2d_1

    nnet::scale<layer5_t, layer6_t, config6>(layer5_out, layer6_out, multiplier6, offset6); // node__symbolic_6

    nnet::pooling2d_cl<layer6_t, layer7_t, config7>(layer6_out, layer7_out); // node_max_pool2d_1

    nnet::conv_2d_cl<layer7_t, layer8_t, config8>(layer7_out, layer8_out, w8, b8); // conv3__node_conv2d_2_

    nnet::scale<layer8_t, layer9_t, config9>(layer8_out, layer9_out, multiplier9, offset9); // node__symbolic_9

    nnet::dense<layer9_t, layer11_t, config11>(layer10_out, layer11_out, w11, b11); // logits__node_linear_

    nnet::scale<layer11_t, result_t, config12>(layer11_out, layer12_out, multiplier12, offset12); // logits__node_linear__2

}

}
