#include <iostream>

#include "stage0.h"
#include "parameters.h"

namespace stage0 {

void stage0(
    hls::stream<input_t> &global_in,
    hls::stream<result_t> &layer73_out
) {

    // hls-fpga-machine-learning insert IO
    #pragma HLS INTERFACE axis port=global_in,layer73_out 
    #pragma HLS DATAFLOW

    // hls-fpga-machine-learning insert load weights
#ifndef __SYNTHESIS__
    static bool loaded_weights = false;
    if (!loaded_weights) {
        nnet::load_weights_from_txt<weight74_t, 144>(w74, "w74.txt");
        nnet::load_weights_from_txt<bias74_t, 16>(b74, "b74.txt");
        nnet::load_weights_from_txt<weight75_t, 2304>(w75, "w75.txt");
        nnet::load_weights_from_txt<bias75_t, 16>(b75, "b75.txt");
        nnet::load_weights_from_txt<weight76_t, 4608>(w76, "w76.txt");
        nnet::load_weights_from_txt<bias76_t, 32>(b76, "b76.txt");
        nnet::load_weights_from_txt<weight73_t, 2880>(w73, "w73.txt");
        nnet::load_weights_from_txt<bias73_t, 10>(b73, "b73.txt");
        loaded_weights = true;    }
#endif
    // ****************************************
    // NETWORK INSTANTIATION
    // ****************************************

    // hls-fpga-machine-learning insert layers

    hls::stream<layer68_t> layer68_out("layer68_out");
    #pragma HLS STREAM variable=layer68_out depth=64

    hls::stream<Conv2D_Conv_0_result_t> layer74_out("layer74_out");
    #pragma HLS STREAM variable=layer74_out depth=36

    hls::stream<layer56_t> layer56_out("layer56_out");
    #pragma HLS STREAM variable=layer56_out depth=36

    hls::stream<layer58_t> layer58_out("layer58_out");
    #pragma HLS STREAM variable=layer58_out depth=9

    hls::stream<layer77_t> layer77_out("layer77_out");
    #pragma HLS STREAM variable=layer77_out depth=25

    hls::stream<Conv2D_Conv_1_result_t> layer75_out("layer75_out");
    #pragma HLS STREAM variable=layer75_out depth=9

    hls::stream<layer60_t> layer60_out("layer60_out");
    #pragma HLS STREAM variable=layer60_out depth=9

    hls::stream<layer78_t> layer78_out("layer78_out");
    #pragma HLS STREAM variable=layer78_out depth=25

    hls::stream<Conv2D_Conv_2_result_t> layer76_out("layer76_out");
    #pragma HLS STREAM variable=layer76_out depth=9

    hls::stream<layer63_t> layer63_out("layer63_out");
    #pragma HLS STREAM variable=layer63_out depth=9

    auto& layer65_out = layer63_out;
    nnet::linear<input_t, layer68_t, linear_config68>(global_in, layer68_out); // Quant_8_act

    nnet::conv_2d_cl<layer68_t, Conv2D_Conv_0_result_t, config74>(layer68_out, layer74_out, w74, b74); // Conv2D_Conv_0

    nnet::relu<Conv2D_Conv_0_result_t, layer56_t, ReLU_config56>(layer74_out, layer56_out); // Relu_0

    nnet::pooling2d_cl<layer56_t, layer58_t, config58>(layer56_out, layer58_out); // MaxPool_0

    nnet::zeropad2d_cl<layer58_t, layer77_t, config77>(layer58_out, layer77_out); // zp2d_Conv2D_Conv_1

    nnet::conv_2d_cl<layer77_t, Conv2D_Conv_1_result_t, config75>(layer77_out, layer75_out, w75, b75); // Conv2D_Conv_1

    nnet::relu<Conv2D_Conv_1_result_t, layer60_t, ReLU_config60>(layer75_out, layer60_out); // Relu_1

    nnet::zeropad2d_cl<layer60_t, layer78_t, config78>(layer60_out, layer78_out); // zp2d_Conv2D_Conv_2

    nnet::conv_2d_cl<layer78_t, Conv2D_Conv_2_result_t, config76>(layer78_out, layer76_out, w76, b76); // Conv2D_Conv_2

    nnet::relu<Conv2D_Conv_2_result_t, layer63_t, ReLU_config63>(layer76_out, layer63_out); // Relu_2

    nnet::dense<layer63_t, result_t, config73>(layer65_out, layer73_out, w73, b73); // Dense_MatMul_0

}

}
