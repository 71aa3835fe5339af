#include <iostream>

#include "stage0.h"
#include "parameters.h"

namespace stage0 {

void stage0(
    hls::stream<input_t> &global_in,
    hls::stream<result_t> &layer74_out
) {

    // hls-fpga-machine-learning insert IO
    #pragma HLS INTERFACE axis port=global_in,layer74_out 
    #pragma HLS DATAFLOW

    // hls-fpga-machine-learning insert load weights
#ifndef __SYNTHESIS__
    static bool loaded_weights = false;
    if (!loaded_weights) {
        nnet::load_weights_from_txt<weight75_t, 144>(w75, "w75.txt");
        nnet::load_weights_from_txt<bias75_t, 16>(b75, "b75.txt");
        nnet::load_weights_from_txt<weight76_t, 2304>(w76, "w76.txt");
        nnet::load_weights_from_txt<bias76_t, 16>(b76, "b76.txt");
        nnet::load_weights_from_txt<weight77_t, 4608>(w77, "w77.txt");
        nnet::load_weights_from_txt<bias77_t, 32>(b77, "b77.txt");
        nnet::load_weights_from_txt<weight74_t, 2880>(w74, "w74.txt");
        nnet::load_weights_from_txt<bias74_t, 10>(b74, "b74.txt");
        loaded_weights = true;    }
#endif
    // ****************************************
    // NETWORK INSTANTIATION
    // ****************************************

    // hls-fpga-machine-learning insert layers

    hls::stream<layer69_t> layer69_out("layer69_out");
    #pragma HLS STREAM variable=layer69_out depth=784

    hls::stream<Conv2D_Conv_0_result_t> layer75_out("layer75_out");
    #pragma HLS STREAM variable=layer75_out depth=676

    hls::stream<layer56_t> layer56_out("layer56_out");
    #pragma HLS STREAM variable=layer56_out depth=676

    hls::stream<layer58_t> layer58_out("layer58_out");
    #pragma HLS STREAM variable=layer58_out depth=169

    hls::stream<Conv2D_Conv_1_result_t> layer76_out("layer76_out");
    #pragma HLS STREAM variable=layer76_out depth=121

    hls::stream<layer60_t> layer60_out("layer60_out");
    #pragma HLS STREAM variable=layer60_out depth=121

    hls::stream<layer62_t> layer62_out("layer62_out");
    #pragma HLS STREAM variable=layer62_out depth=25

    hls::stream<Conv2D_Conv_2_result_t> layer77_out("layer77_out");
    #pragma HLS STREAM variable=layer77_out depth=9

    hls::stream<layer64_t> layer64_out("layer64_out");
    #pragma HLS STREAM variable=layer64_out depth=9

    auto& layer66_out = layer64_out;
    nnet::linear<input_t, layer69_t, linear_config69>(global_in, layer69_out); // Quant_8_act

    nnet::conv_2d_cl<layer69_t, Conv2D_Conv_0_result_t, config75>(layer69_out, layer75_out, w75, b75); // Conv2D_Conv_0

    nnet::relu<Conv2D_Conv_0_result_t, layer56_t, ReLU_config56>(layer75_out, layer56_out); // Relu_0

    nnet::pooling2d_cl<layer56_t, layer58_t, config58>(layer56_out, layer58_out); // MaxPool_0

    nnet::conv_2d_cl<layer58_t, Conv2D_Conv_1_result_t, config76>(layer58_out, layer76_out, w76, b76); // Conv2D_Conv_1

    nnet::relu<Conv2D_Conv_1_result_t, layer60_t, ReLU_config60>(layer76_out, layer60_out); // Relu_1

    nnet::pooling2d_cl<layer60_t, layer62_t, config62>(layer60_out, layer62_out); // MaxPool_1

    nnet::conv_2d_cl<layer62_t, Conv2D_Conv_2_result_t, config77>(layer62_out, layer77_out, w77, b77); // Conv2D_Conv_2

    nnet::relu<Conv2D_Conv_2_result_t, layer64_t, ReLU_config64>(layer77_out, layer64_out); // Relu_2

    nnet::dense<layer64_t, result_t, config74>(layer66_out, layer74_out, w74, b74); // Dense_MatMul_0

}

}
