#include <iostream>

#include "stage1.h"
#include "parameters.h"

namespace stage1 {

void stage1(
    hls::stream<input_t> &in_input,
    hls::stream<result_t> &layer16_out
) {

    // hls-fpga-machine-learning insert IO
    #pragma HLS INTERFACE axis port=in_input,layer16_out 
    #pragma HLS DATAFLOW

    // hls-fpga-machine-learning insert load weights
#ifndef __SYNTHESIS__
    static bool loaded_weights = false;
    if (!loaded_weights) {
        nnet::load_weights_from_txt<conv1__node_conv2d__weight_t, 144>(w2, "w2.txt");
        nnet::load_weights_from_txt<conv1__node_conv2d__bias_t, 16>(b2, "b2.txt");
        nnet::load_weights_from_txt<node__symbolic_3_multiplier_t, 16>(multiplier3, "multiplier3.txt");
        nnet::load_weights_from_txt<node__symbolic_3_offset_t, 16>(offset3, "offset3.txt");
        nnet::load_weights_from_txt<node_conv2d_1_weight_t, 4608>(w6, "w6.txt");
        nnet::load_weights_from_txt<node_conv2d_1_bias_t, 32>(b6, "b6.txt");
        nnet::load_weights_from_txt<node__symbolic_6_multiplier_t, 32>(multiplier7, "multiplier7.txt");
        nnet::load_weights_from_txt<node__symbolic_6_offset_t, 32>(offset7, "offset7.txt");
        nnet::load_weights_from_txt<conv3__node_conv2d_2__weight_t, 9216>(w9, "w9.txt");
        nnet::load_weights_from_txt<conv3__node_conv2d_2__bias_t, 32>(b9, "b9.txt");
        nnet::load_weights_from_txt<node__symbolic_9_multiplier_t, 32>(multiplier10, "multiplier10.txt");
        nnet::load_weights_from_txt<node__symbolic_9_offset_t, 32>(offset10, "offset10.txt");
        nnet::load_weights_from_txt<conv4__node_conv2d_3__weight_t, 18432>(w12, "w12.txt");
        nnet::load_weights_from_txt<conv4__node_conv2d_3__bias_t, 64>(b12, "b12.txt");
        nnet::load_weights_from_txt<node__symbolic_12_multiplier_t, 64>(multiplier13, "multiplier13.txt");
        nnet::load_weights_from_txt<node__symbolic_12_offset_t, 64>(offset13, "offset13.txt");
        nnet::load_weights_from_txt<logits__node_linear__weight_t, 5760>(w15, "w15.txt");
        nnet::load_weights_from_txt<logits__node_linear__bias_t, 10>(b15, "b15.txt");
        nnet::load_weights_from_txt<logits__node_linear__2_multiplier_t, 10>(multiplier16, "multiplier16.txt");
        nnet::load_weights_from_txt<logits__node_linear__2_offset_t, 10>(offset16, "offset16.txt");
        loaded_weights = true;    }
#endif
    // ****************************************
    // NETWORK INSTANTIATION
    // ****************************************

    // hls-fpga-machine-learning insert layers

    hls::stream<layer2_t> layer2_out("layer2_out");
    #pragma HLS STREAM variable=layer2_out depth=36

    hls::stream<layer3_t> layer3_out("layer3_out");
    #pragma HLS STREAM variable=layer3_out depth=36

    hls::stream<layer4_t> layer4_out("layer4_out");
    #pragma HLS STREAM variable=layer4_out depth=9

    hls::stream<layer5_t> layer5_out("layer5_out");
    #pragma HLS STREAM variable=layer5_out depth=25

    hls::stream<layer6_t> layer6_out("layer6_out");
    #pragma HLS STREAM variable=layer6_out depth=9

    hls::stream<layer7_t> layer7_out("layer7_out");
    #pragma HLS STREAM variable=layer7_out depth=9

    hls::stream<layer8_t> layer8_out("layer8_out");
    #pragma HLS STREAM variable=layer8_out depth=25

    hls::stream<layer9_t> layer9_out("layer9_out");
    #pragma HLS STREAM variable=layer9_out depth=9

    hls::stream<layer10_t> layer10_out("layer10_out");
    #pragma HLS STREAM variable=layer10_out depth=9

    hls::stream<layer11_t> layer11_out("layer11_out");
    #pragma HLS STREAM variable=layer11_out depth=25

    hls::stream<layer12_t> layer12_out("layer12_out");
    #pragma HLS STREAM variable=layer12_out depth=9

    hls::stream<layer13_t> layer13_out("layer13_out");
    #pragma HLS STREAM variable=layer13_out depth=9

    auto& layer14_out = layer13_out;
    hls::stream<layer15_t> layer15_out("layer15_out");
    #pragma HLS STREAM variable=layer15_out depth=1

    nnet::conv_2d_cl<input_t, layer2_t, config2>(in_input, layer2_out, w2, b2); // conv1__node_conv2d_

    nnet::scale<layer2_t, layer3_t, config3>(layer2_out, layer3_out, multiplier3, offset3); // node__symbolic_3

    nnet::pooling2d_cl<layer3_t, layer4_t, config4>(layer3_out, layer4_out); // node_max_pool2d

    nnet::zeropad2d_cl<layer4_t, layer5_t, config5>(layer4_out, layer5_out); // node_conv2d_1_pad

    nnet::conv_2d_cl<layer5_t, layer6_t, config6>(layer5_out, layer6_out, w6, b6); // node_conv2d_1

    nnet::scale<layer6_t, layer7_t, config7>(layer6_out, layer7_out, multiplier7, offset7); // node__symbolic_6

    nnet::zeropad2d_cl<layer7_t, layer8_t, config8>(layer7_out, layer8_out); // conv3__node_conv2d_2__pad

    nnet::conv_2d_cl<layer8_t, layer9_t, config9>(layer8_out, layer9_out, w9, b9); // conv3__node_conv2d_2_

    nnet::scale<layer9_t, layer10_t, config10>(layer9_out, layer10_out, multiplier10, offset10); // node__symbolic_9

    nnet::zeropad2d_cl<layer10_t, layer11_t, config11>(layer10_out, layer11_out); // conv4__node_conv2d_3__pad

    nnet::conv_2d_cl<layer11_t, layer12_t, config12>(layer11_out, layer12_out, w12, b12); // conv4__node_conv2d_3_

    nnet::scale<layer12_t, layer13_t, config13>(layer12_out, layer13_out, multiplier13, offset13); // node__symbolic_12

    nnet::dense<layer13_t, layer15_t, config15>(layer14_out, layer15_out, w15, b15); // logits__node_linear_

    nnet::scale<layer15_t, result_t, config16>(layer15_out, layer16_out, multiplier16, offset16); // logits__node_linear__2

}

}
