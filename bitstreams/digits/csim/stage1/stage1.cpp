#include <iostream>

#include "stage1.h"
#include "parameters.h"

namespace stage1 {

void stage1(
    hls::stream<input_t> &global_in,
    hls::stream<result_t> &layer90_out
) {

    // hls-fpga-machine-learning insert IO
    #pragma HLS INTERFACE axis port=global_in,layer90_out 
    #pragma HLS DATAFLOW

    // hls-fpga-machine-learning insert load weights
#ifndef __SYNTHESIS__
    static bool loaded_weights = false;
    if (!loaded_weights) {
        nnet::load_weights_from_txt<weight91_t, 144>(w91, "w91.txt");
        nnet::load_weights_from_txt<bias91_t, 16>(b91, "b91.txt");
        nnet::load_weights_from_txt<weight92_t, 4608>(w92, "w92.txt");
        nnet::load_weights_from_txt<bias92_t, 32>(b92, "b92.txt");
        nnet::load_weights_from_txt<weight93_t, 9216>(w93, "w93.txt");
        nnet::load_weights_from_txt<bias93_t, 32>(b93, "b93.txt");
        nnet::load_weights_from_txt<weight94_t, 18432>(w94, "w94.txt");
        nnet::load_weights_from_txt<bias94_t, 64>(b94, "b94.txt");
        nnet::load_weights_from_txt<weight90_t, 5760>(w90, "w90.txt");
        nnet::load_weights_from_txt<bias90_t, 10>(b90, "b90.txt");
        loaded_weights = true;    }
#endif
    // ****************************************
    // NETWORK INSTANTIATION
    // ****************************************

    // hls-fpga-machine-learning insert layers

    hls::stream<layer84_t> layer84_out("layer84_out");
    #pragma HLS STREAM variable=layer84_out depth=64

    hls::stream<Conv2D_Conv_0_result_t> layer91_out("layer91_out");
    #pragma HLS STREAM variable=layer91_out depth=36

    hls::stream<layer69_t> layer69_out("layer69_out");
    #pragma HLS STREAM variable=layer69_out depth=36

    hls::stream<layer71_t> layer71_out("layer71_out");
    #pragma HLS STREAM variable=layer71_out depth=9

    hls::stream<layer95_t> layer95_out("layer95_out");
    #pragma HLS STREAM variable=layer95_out depth=25

    hls::stream<Conv2D_Conv_1_result_t> layer92_out("layer92_out");
    #pragma HLS STREAM variable=layer92_out depth=9

    hls::stream<layer73_t> layer73_out("layer73_out");
    #pragma HLS STREAM variable=layer73_out depth=9

    hls::stream<layer96_t> layer96_out("layer96_out");
    #pragma HLS STREAM variable=layer96_out depth=25

    hls::stream<Conv2D_Conv_2_result_t> layer93_out("layer93_out");
    #pragma HLS STREAM variable=layer93_out depth=9

    hls::stream<layer76_t> layer76_out("layer76_out");
    #pragma HLS STREAM variable=layer76_out depth=9

    hls::stream<layer97_t> layer97_out("layer97_out");
    #pragma HLS STREAM variable=layer97_out depth=25

    hls::stream<Conv2D_Conv_3_result_t> layer94_out("layer94_out");
    #pragma HLS STREAM variable=layer94_out depth=9

    hls::stream<layer79_t> layer79_out("layer79_out");
    #pragma HLS STREAM variable=layer79_out depth=9

    auto& layer81_out = layer79_out;
    nnet::linear<input_t, layer84_t, linear_config84>(global_in, layer84_out); // Quant_10_act

    nnet::conv_2d_cl<layer84_t, Conv2D_Conv_0_result_t, config91>(layer84_out, layer91_out, w91, b91); // Conv2D_Conv_0

    nnet::relu<Conv2D_Conv_0_result_t, layer69_t, ReLU_config69>(layer91_out, layer69_out); // Relu_0

    nnet::pooling2d_cl<layer69_t, layer71_t, config71>(layer69_out, layer71_out); // MaxPool_0

    nnet::zeropad2d_cl<layer71_t, layer95_t, config95>(layer71_out, layer95_out); // zp2d_Conv2D_Conv_1

    nnet::conv_2d_cl<layer95_t, Conv2D_Conv_1_result_t, config92>(layer95_out, layer92_out, w92, b92); // Conv2D_Conv_1

    nnet::relu<Conv2D_Conv_1_result_t, layer73_t, ReLU_config73>(layer92_out, layer73_out); // Relu_1

    nnet::zeropad2d_cl<layer73_t, layer96_t, config96>(layer73_out, layer96_out); // zp2d_Conv2D_Conv_2

    nnet::conv_2d_cl<layer96_t, Conv2D_Conv_2_result_t, config93>(layer96_out, layer93_out, w93, b93); // Conv2D_Conv_2

    nnet::relu<Conv2D_Conv_2_result_t, layer76_t, ReLU_config76>(layer93_out, layer76_out); // Relu_2

    nnet::zeropad2d_cl<layer76_t, layer97_t, config97>(layer76_out, layer97_out); // zp2d_Conv2D_Conv_3

    nnet::conv_2d_cl<layer97_t, Conv2D_Conv_3_result_t, config94>(layer97_out, layer94_out, w94, b94); // Conv2D_Conv_3

    nnet::relu<Conv2D_Conv_3_result_t, layer79_t, ReLU_config79>(layer94_out, layer79_out); // Relu_3

    nnet::dense<layer79_t, result_t, config90>(layer81_out, layer90_out, w90, b90); // Dense_MatMul_0

}

}
