#include <iostream>

#include "stage1.h"
#include "parameters.h"

namespace stage1 {

void stage1(
    hls::stream<input_t> &global_in,
    hls::stream<result_t> &layer91_out
) {

    // hls-fpga-machine-learning insert IO
    #pragma HLS INTERFACE axis port=global_in,layer91_out 
    #pragma HLS DATAFLOW

    // hls-fpga-machine-learning insert load weights
#ifndef __SYNTHESIS__
    static bool loaded_weights = false;
    if (!loaded_weights) {
        nnet::load_weights_from_txt<weight92_t, 144>(w92, "w92.txt");
        nnet::load_weights_from_txt<bias92_t, 16>(b92, "b92.txt");
        nnet::load_weights_from_txt<weight93_t, 4608>(w93, "w93.txt");
        nnet::load_weights_from_txt<bias93_t, 32>(b93, "b93.txt");
        nnet::load_weights_from_txt<weight94_t, 9216>(w94, "w94.txt");
        nnet::load_weights_from_txt<bias94_t, 32>(b94, "b94.txt");
        nnet::load_weights_from_txt<weight95_t, 18432>(w95, "w95.txt");
        nnet::load_weights_from_txt<bias95_t, 64>(b95, "b95.txt");
        nnet::load_weights_from_txt<weight91_t, 5760>(w91, "w91.txt");
        nnet::load_weights_from_txt<bias91_t, 10>(b91, "b91.txt");
        loaded_weights = true;    }
#endif
    // ****************************************
    // NETWORK INSTANTIATION
    // ****************************************

    // hls-fpga-machine-learning insert layers

    hls::stream<layer85_t> layer85_out("layer85_out");
    #pragma HLS STREAM variable=layer85_out depth=784

    hls::stream<Conv2D_Conv_0_result_t> layer92_out("layer92_out");
    #pragma HLS STREAM variable=layer92_out depth=676

    hls::stream<layer69_t> layer69_out("layer69_out");
    #pragma HLS STREAM variable=layer69_out depth=676

    hls::stream<layer71_t> layer71_out("layer71_out");
    #pragma HLS STREAM variable=layer71_out depth=169

    hls::stream<layer96_t> layer96_out("layer96_out");
    #pragma HLS STREAM variable=layer96_out depth=225

    hls::stream<Conv2D_Conv_1_result_t> layer93_out("layer93_out");
    #pragma HLS STREAM variable=layer93_out depth=169

    hls::stream<layer73_t> layer73_out("layer73_out");
    #pragma HLS STREAM variable=layer73_out depth=169

    hls::stream<Conv2D_Conv_2_result_t> layer94_out("layer94_out");
    #pragma HLS STREAM variable=layer94_out depth=121

    hls::stream<layer76_t> layer76_out("layer76_out");
    #pragma HLS STREAM variable=layer76_out depth=121

    hls::stream<layer78_t> layer78_out("layer78_out");
    #pragma HLS STREAM variable=layer78_out depth=25

    hls::stream<Conv2D_Conv_3_result_t> layer95_out("layer95_out");
    #pragma HLS STREAM variable=layer95_out depth=9

    hls::stream<layer80_t> layer80_out("layer80_out");
    #pragma HLS STREAM variable=layer80_out depth=9

    auto& layer82_out = layer80_out;
    nnet::linear<input_t, layer85_t, linear_config85>(global_in, layer85_out); // Quant_10_act

    nnet::conv_2d_cl<layer85_t, Conv2D_Conv_0_result_t, config92>(layer85_out, layer92_out, w92, b92); // Conv2D_Conv_0

    nnet::relu<Conv2D_Conv_0_result_t, layer69_t, ReLU_config69>(layer92_out, layer69_out); // Relu_0

    nnet::pooling2d_cl<layer69_t, layer71_t, config71>(layer69_out, layer71_out); // MaxPool_0

    nnet::zeropad2d_cl<layer71_t, layer96_t, config96>(layer71_out, layer96_out); // zp2d_Conv2D_Conv_1

    nnet::conv_2d_cl<layer96_t, Conv2D_Conv_1_result_t, config93>(layer96_out, layer93_out, w93, b93); // Conv2D_Conv_1

    nnet::relu<Conv2D_Conv_1_result_t, layer73_t, ReLU_config73>(layer93_out, layer73_out); // Relu_1

    nnet::conv_2d_cl<layer73_t, Conv2D_Conv_2_result_t, config94>(layer73_out, layer94_out, w94, b94); // Conv2D_Conv_2

    nnet::relu<Conv2D_Conv_2_result_t, layer76_t, ReLU_config76>(layer94_out, layer76_out); // Relu_2

    nnet::pooling2d_cl<layer76_t, layer78_t, config78>(layer76_out, layer78_out); // MaxPool_1

    nnet::conv_2d_cl<layer78_t, Conv2D_Conv_3_result_t, config95>(layer78_out, layer95_out, w95, b95); // Conv2D_Conv_3

    nnet::relu<Conv2D_Conv_3_result_t, layer80_t, ReLU_config80>(layer95_out, layer80_out); // Relu_3

    nnet::dense<layer80_t, result_t, config91>(layer82_out, layer91_out, w91, b91); // Dense_MatMul_0

}

}
