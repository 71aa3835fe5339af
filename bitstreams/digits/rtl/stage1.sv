// Generated. Network `stage1`, a pixel with all of its channels a beat. s: 8x8x1 of 8-bit unsigned integers.
// m: 1x1x10 of 15-bit signed integers (linear).
module stage1 (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic s_valid_i,
  output logic s_ready_o,
  input  logic [7:0] s_data_i,
  output logic m_valid_o,
  input  logic m_ready_i,
  output logic [149:0] m_data_o
);
  logic s_valid, s_ready;
  logic [7:0] s_data;
  logic u1_conv1__node_conv2d__valid, u1_conv1__node_conv2d__ready;
  logic [7:0] u1_conv1__node_conv2d__data;
  logic u1_conv1__node_conv2d__window_valid, u1_conv1__node_conv2d__window_ready;
  logic [71:0] u1_conv1__node_conv2d__window_data;
  sliding_window #(.Channels(1), .Width(8), .ImgH(8), .ImgW(8), .PadTop(0), .PadLeft(0), .PadBottom(0), .PadRight(0), .KernelH(3), .KernelW(3), .StrideH(1), .StrideW(1), .DilationH(1), .DilationW(1)) u_u1_conv1__node_conv2d__window (
    .clk_i, .rst_ni,
    .s_valid_i(s_valid), .s_ready_o(s_ready), .s_data_i(s_data),
    .m_valid_o(u1_conv1__node_conv2d__window_valid), .m_ready_i(u1_conv1__node_conv2d__window_ready), .m_data_o(u1_conv1__node_conv2d__window_data)
  );
  logic u1_conv1__node_conv2d__weight_en;
  logic [4:0] u1_conv1__node_conv2d__weight_addr;
  logic [23:0] u1_conv1__node_conv2d__weight_data;
  weight_memory #(.Width(24), .Depth(24), .File("stage1_u1_conv1__node_conv2d__weights.mem")) u_u1_conv1__node_conv2d__weight (
    .clk_i, .en_i(u1_conv1__node_conv2d__weight_en), .addr_i(u1_conv1__node_conv2d__weight_addr), .data_o(u1_conv1__node_conv2d__weight_data)
  );
  mvu #(.InLanes(9), .InWidth(8), .InSigned(0), .Beats(1), .Outputs(16), .Pe(2), .Simd(3), .WeightWidth(4), .Blocks(1), .Taps(9), .AccWidth(14), .BiasWidth(12), .Bias(192'ha433b122af57476f3af56e75b7e40fb9109c74ed5a33eff9), .OutWidth(4), .OutSigned(0), .Shift(8), .Round(2), .Saturate(1), .BiasShift(0)) u_u1_conv1__node_conv2d_ (
    .clk_i, .rst_ni,
    .s_valid_i(u1_conv1__node_conv2d__window_valid), .s_ready_o(u1_conv1__node_conv2d__window_ready), .s_data_i(u1_conv1__node_conv2d__window_data),
    .m_valid_o(u1_conv1__node_conv2d__valid), .m_ready_i(u1_conv1__node_conv2d__ready), .m_data_o(u1_conv1__node_conv2d__data),
    .weight_en_o(u1_conv1__node_conv2d__weight_en),
    .weight_addr_o(u1_conv1__node_conv2d__weight_addr),
    .weight_data_i(u1_conv1__node_conv2d__weight_data),
    .bias_en_o(), .bias_addr_o(), .bias_data_i('0), .rounding_i('0)
  );
  logic u1_conv1__node_conv2d__by16_valid, u1_conv1__node_conv2d__by16_ready;
  logic [63:0] u1_conv1__node_conv2d__by16_data;
  stream_gather #(.Width(8), .Parts(8)) u_u1_conv1__node_conv2d__by16 (
    .clk_i, .rst_ni,
    .s_valid_i(u1_conv1__node_conv2d__valid), .s_ready_o(u1_conv1__node_conv2d__ready), .s_data_i(u1_conv1__node_conv2d__data),
    .m_valid_o(u1_conv1__node_conv2d__by16_valid), .m_ready_i(u1_conv1__node_conv2d__by16_ready), .m_data_o(u1_conv1__node_conv2d__by16_data)
  );
  logic u1_conv1__node_conv2d__by16_q_valid, u1_conv1__node_conv2d__by16_q_ready;
  logic [63:0] u1_conv1__node_conv2d__by16_q_data;
  stream_fifo #(.Width(64), .Depth(6)) u_u1_conv1__node_conv2d__by16_q (
    .clk_i, .rst_ni,
    .s_valid_i(u1_conv1__node_conv2d__by16_valid), .s_ready_o(u1_conv1__node_conv2d__by16_ready), .s_data_i(u1_conv1__node_conv2d__by16_data),
    .m_valid_o(u1_conv1__node_conv2d__by16_q_valid), .m_ready_i(u1_conv1__node_conv2d__by16_q_ready), .m_data_o(u1_conv1__node_conv2d__by16_q_data)
  );
  logic u3_node_max_pool2d_valid, u3_node_max_pool2d_ready;
  logic [63:0] u3_node_max_pool2d_data;
  max_pool #(.Signed(0), .Channels(16), .Width(4), .ImgH(6), .ImgW(6), .PadTop(0), .PadLeft(0), .PadBottom(0), .PadRight(0), .KernelH(2), .KernelW(2), .StrideH(2), .StrideW(2), .DilationH(1), .DilationW(1)) u_u3_node_max_pool2d (
    .clk_i, .rst_ni,
    .s_valid_i(u1_conv1__node_conv2d__by16_q_valid), .s_ready_o(u1_conv1__node_conv2d__by16_q_ready), .s_data_i(u1_conv1__node_conv2d__by16_q_data),
    .m_valid_o(u3_node_max_pool2d_valid), .m_ready_i(u3_node_max_pool2d_ready), .m_data_o(u3_node_max_pool2d_data)
  );
  logic u3_node_max_pool2d_q_valid, u3_node_max_pool2d_q_ready;
  logic [63:0] u3_node_max_pool2d_q_data;
  stream_fifo #(.Width(64), .Depth(5)) u_u3_node_max_pool2d_q (
    .clk_i, .rst_ni,
    .s_valid_i(u3_node_max_pool2d_valid), .s_ready_o(u3_node_max_pool2d_ready), .s_data_i(u3_node_max_pool2d_data),
    .m_valid_o(u3_node_max_pool2d_q_valid), .m_ready_i(u3_node_max_pool2d_q_ready), .m_data_o(u3_node_max_pool2d_q_data)
  );
  logic u4_node_conv2d_1_valid, u4_node_conv2d_1_ready;
  logic [3:0] u4_node_conv2d_1_data;
  logic u4_node_conv2d_1_window_valid, u4_node_conv2d_1_window_ready;
  logic [575:0] u4_node_conv2d_1_window_data;
  sliding_window #(.Channels(16), .Width(4), .ImgH(3), .ImgW(3), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1), .KernelH(3), .KernelW(3), .StrideH(1), .StrideW(1), .DilationH(1), .DilationW(1)) u_u4_node_conv2d_1_window (
    .clk_i, .rst_ni,
    .s_valid_i(u3_node_max_pool2d_q_valid), .s_ready_o(u3_node_max_pool2d_q_ready), .s_data_i(u3_node_max_pool2d_q_data),
    .m_valid_o(u4_node_conv2d_1_window_valid), .m_ready_i(u4_node_conv2d_1_window_ready), .m_data_o(u4_node_conv2d_1_window_data)
  );
  logic u4_node_conv2d_1_weight_en;
  logic [6:0] u4_node_conv2d_1_weight_addr;
  logic [191:0] u4_node_conv2d_1_weight_data;
  weight_memory #(.Width(192), .Depth(96), .File("stage1_u4_node_conv2d_1_weights.mem")) u_u4_node_conv2d_1_weight (
    .clk_i, .en_i(u4_node_conv2d_1_weight_en), .addr_i(u4_node_conv2d_1_weight_addr), .data_o(u4_node_conv2d_1_weight_data)
  );
  mvu #(.InLanes(144), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(1), .Simd(48), .WeightWidth(4), .Blocks(1), .Taps(9), .AccWidth(13), .BiasWidth(9), .Bias(288'h218549800ed087fffb5f89c4a09da8c7fa4ef2ff02819027c481f1029640813048bf7060), .OutWidth(4), .OutSigned(0), .Shift(4), .Round(2), .Saturate(1), .BiasShift(0)) u_u4_node_conv2d_1 (
    .clk_i, .rst_ni,
    .s_valid_i(u4_node_conv2d_1_window_valid), .s_ready_o(u4_node_conv2d_1_window_ready), .s_data_i(u4_node_conv2d_1_window_data),
    .m_valid_o(u4_node_conv2d_1_valid), .m_ready_i(u4_node_conv2d_1_ready), .m_data_o(u4_node_conv2d_1_data),
    .weight_en_o(u4_node_conv2d_1_weight_en),
    .weight_addr_o(u4_node_conv2d_1_weight_addr),
    .weight_data_i(u4_node_conv2d_1_weight_data),
    .bias_en_o(), .bias_addr_o(), .bias_data_i('0), .rounding_i('0)
  );
  logic u4_node_conv2d_1_by32_valid, u4_node_conv2d_1_by32_ready;
  logic [127:0] u4_node_conv2d_1_by32_data;
  stream_gather #(.Width(4), .Parts(32)) u_u4_node_conv2d_1_by32 (
    .clk_i, .rst_ni,
    .s_valid_i(u4_node_conv2d_1_valid), .s_ready_o(u4_node_conv2d_1_ready), .s_data_i(u4_node_conv2d_1_data),
    .m_valid_o(u4_node_conv2d_1_by32_valid), .m_ready_i(u4_node_conv2d_1_by32_ready), .m_data_o(u4_node_conv2d_1_by32_data)
  );
  logic u4_node_conv2d_1_by32_q_valid, u4_node_conv2d_1_by32_q_ready;
  logic [127:0] u4_node_conv2d_1_by32_q_data;
  stream_fifo #(.Width(128), .Depth(5)) u_u4_node_conv2d_1_by32_q (
    .clk_i, .rst_ni,
    .s_valid_i(u4_node_conv2d_1_by32_valid), .s_ready_o(u4_node_conv2d_1_by32_ready), .s_data_i(u4_node_conv2d_1_by32_data),
    .m_valid_o(u4_node_conv2d_1_by32_q_valid), .m_ready_i(u4_node_conv2d_1_by32_q_ready), .m_data_o(u4_node_conv2d_1_by32_q_data)
  );
  logic u6_conv3__node_conv2d_2__valid, u6_conv3__node_conv2d_2__ready;
  logic [3:0] u6_conv3__node_conv2d_2__data;
  logic u6_conv3__node_conv2d_2__window_valid, u6_conv3__node_conv2d_2__window_ready;
  logic [1151:0] u6_conv3__node_conv2d_2__window_data;
  sliding_window #(.Channels(32), .Width(4), .ImgH(3), .ImgW(3), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1), .KernelH(3), .KernelW(3), .StrideH(1), .StrideW(1), .DilationH(1), .DilationW(1)) u_u6_conv3__node_conv2d_2__window (
    .clk_i, .rst_ni,
    .s_valid_i(u4_node_conv2d_1_by32_q_valid), .s_ready_o(u4_node_conv2d_1_by32_q_ready), .s_data_i(u4_node_conv2d_1_by32_q_data),
    .m_valid_o(u6_conv3__node_conv2d_2__window_valid), .m_ready_i(u6_conv3__node_conv2d_2__window_ready), .m_data_o(u6_conv3__node_conv2d_2__window_data)
  );
  logic u6_conv3__node_conv2d_2__weight_en;
  logic [6:0] u6_conv3__node_conv2d_2__weight_addr;
  logic [383:0] u6_conv3__node_conv2d_2__weight_data;
  weight_memory #(.Width(384), .Depth(96), .File("stage1_u6_conv3__node_conv2d_2__weights.mem")) u_u6_conv3__node_conv2d_2__weight (
    .clk_i, .en_i(u6_conv3__node_conv2d_2__weight_en), .addr_i(u6_conv3__node_conv2d_2__weight_addr), .data_o(u6_conv3__node_conv2d_2__weight_data)
  );
  mvu #(.InLanes(288), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(1), .Simd(96), .WeightWidth(4), .Blocks(1), .Taps(9), .AccWidth(14), .BiasWidth(9), .Bias(288'h217435fd61b8a3e3ec200684281221a4941a227f38608370642453f105c0e4d2001860b8), .OutWidth(4), .OutSigned(0), .Shift(5), .Round(2), .Saturate(1), .BiasShift(0)) u_u6_conv3__node_conv2d_2_ (
    .clk_i, .rst_ni,
    .s_valid_i(u6_conv3__node_conv2d_2__window_valid), .s_ready_o(u6_conv3__node_conv2d_2__window_ready), .s_data_i(u6_conv3__node_conv2d_2__window_data),
    .m_valid_o(u6_conv3__node_conv2d_2__valid), .m_ready_i(u6_conv3__node_conv2d_2__ready), .m_data_o(u6_conv3__node_conv2d_2__data),
    .weight_en_o(u6_conv3__node_conv2d_2__weight_en),
    .weight_addr_o(u6_conv3__node_conv2d_2__weight_addr),
    .weight_data_i(u6_conv3__node_conv2d_2__weight_data),
    .bias_en_o(), .bias_addr_o(), .bias_data_i('0), .rounding_i('0)
  );
  logic u6_conv3__node_conv2d_2__by32_valid, u6_conv3__node_conv2d_2__by32_ready;
  logic [127:0] u6_conv3__node_conv2d_2__by32_data;
  stream_gather #(.Width(4), .Parts(32)) u_u6_conv3__node_conv2d_2__by32 (
    .clk_i, .rst_ni,
    .s_valid_i(u6_conv3__node_conv2d_2__valid), .s_ready_o(u6_conv3__node_conv2d_2__ready), .s_data_i(u6_conv3__node_conv2d_2__data),
    .m_valid_o(u6_conv3__node_conv2d_2__by32_valid), .m_ready_i(u6_conv3__node_conv2d_2__by32_ready), .m_data_o(u6_conv3__node_conv2d_2__by32_data)
  );
  logic u6_conv3__node_conv2d_2__by32_q_valid, u6_conv3__node_conv2d_2__by32_q_ready;
  logic [127:0] u6_conv3__node_conv2d_2__by32_q_data;
  stream_fifo #(.Width(128), .Depth(5)) u_u6_conv3__node_conv2d_2__by32_q (
    .clk_i, .rst_ni,
    .s_valid_i(u6_conv3__node_conv2d_2__by32_valid), .s_ready_o(u6_conv3__node_conv2d_2__by32_ready), .s_data_i(u6_conv3__node_conv2d_2__by32_data),
    .m_valid_o(u6_conv3__node_conv2d_2__by32_q_valid), .m_ready_i(u6_conv3__node_conv2d_2__by32_q_ready), .m_data_o(u6_conv3__node_conv2d_2__by32_q_data)
  );
  logic u8_conv4__node_conv2d_3__valid, u8_conv4__node_conv2d_3__ready;
  logic [7:0] u8_conv4__node_conv2d_3__data;
  logic u8_conv4__node_conv2d_3__window_valid, u8_conv4__node_conv2d_3__window_ready;
  logic [1151:0] u8_conv4__node_conv2d_3__window_data;
  sliding_window #(.Channels(32), .Width(4), .ImgH(3), .ImgW(3), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1), .KernelH(3), .KernelW(3), .StrideH(1), .StrideW(1), .DilationH(1), .DilationW(1)) u_u8_conv4__node_conv2d_3__window (
    .clk_i, .rst_ni,
    .s_valid_i(u6_conv3__node_conv2d_2__by32_q_valid), .s_ready_o(u6_conv3__node_conv2d_2__by32_q_ready), .s_data_i(u6_conv3__node_conv2d_2__by32_q_data),
    .m_valid_o(u8_conv4__node_conv2d_3__window_valid), .m_ready_i(u8_conv4__node_conv2d_3__window_ready), .m_data_o(u8_conv4__node_conv2d_3__window_data)
  );
  logic u8_conv4__node_conv2d_3__weight_en;
  logic [6:0] u8_conv4__node_conv2d_3__weight_addr;
  logic [767:0] u8_conv4__node_conv2d_3__weight_data;
  weight_memory #(.Width(768), .Depth(96), .File("stage1_u8_conv4__node_conv2d_3__weights.mem")) u_u8_conv4__node_conv2d_3__weight (
    .clk_i, .en_i(u8_conv4__node_conv2d_3__weight_en), .addr_i(u8_conv4__node_conv2d_3__weight_addr), .data_o(u8_conv4__node_conv2d_3__weight_data)
  );
  mvu #(.InLanes(288), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(64), .Pe(2), .Simd(96), .WeightWidth(4), .Blocks(1), .Taps(9), .AccWidth(15), .BiasWidth(10), .Bias(640'h3b4cb278a12a0630ac8c2287b1d02c2585e21827174690acc8197ec1947f23cbb288ad29c86054a21e083190422ec3b1245e124ae14009343f9068da458510a05223c80128670b84f1308c1143f1d02f), .OutWidth(4), .OutSigned(0), .Shift(5), .Round(2), .Saturate(1), .BiasShift(0)) u_u8_conv4__node_conv2d_3_ (
    .clk_i, .rst_ni,
    .s_valid_i(u8_conv4__node_conv2d_3__window_valid), .s_ready_o(u8_conv4__node_conv2d_3__window_ready), .s_data_i(u8_conv4__node_conv2d_3__window_data),
    .m_valid_o(u8_conv4__node_conv2d_3__valid), .m_ready_i(u8_conv4__node_conv2d_3__ready), .m_data_o(u8_conv4__node_conv2d_3__data),
    .weight_en_o(u8_conv4__node_conv2d_3__weight_en),
    .weight_addr_o(u8_conv4__node_conv2d_3__weight_addr),
    .weight_data_i(u8_conv4__node_conv2d_3__weight_data),
    .bias_en_o(), .bias_addr_o(), .bias_data_i('0), .rounding_i('0)
  );
  logic u8_conv4__node_conv2d_3__by64_valid, u8_conv4__node_conv2d_3__by64_ready;
  logic [255:0] u8_conv4__node_conv2d_3__by64_data;
  stream_gather #(.Width(8), .Parts(32)) u_u8_conv4__node_conv2d_3__by64 (
    .clk_i, .rst_ni,
    .s_valid_i(u8_conv4__node_conv2d_3__valid), .s_ready_o(u8_conv4__node_conv2d_3__ready), .s_data_i(u8_conv4__node_conv2d_3__data),
    .m_valid_o(u8_conv4__node_conv2d_3__by64_valid), .m_ready_i(u8_conv4__node_conv2d_3__by64_ready), .m_data_o(u8_conv4__node_conv2d_3__by64_data)
  );
  logic u8_conv4__node_conv2d_3__by64_q_valid, u8_conv4__node_conv2d_3__by64_q_ready;
  logic [255:0] u8_conv4__node_conv2d_3__by64_q_data;
  stream_fifo #(.Width(256), .Depth(3)) u_u8_conv4__node_conv2d_3__by64_q (
    .clk_i, .rst_ni,
    .s_valid_i(u8_conv4__node_conv2d_3__by64_valid), .s_ready_o(u8_conv4__node_conv2d_3__by64_ready), .s_data_i(u8_conv4__node_conv2d_3__by64_data),
    .m_valid_o(u8_conv4__node_conv2d_3__by64_q_valid), .m_ready_i(u8_conv4__node_conv2d_3__by64_q_ready), .m_data_o(u8_conv4__node_conv2d_3__by64_q_data)
  );
  logic u10_logits__node_linear__valid, u10_logits__node_linear__ready;
  logic [14:0] u10_logits__node_linear__data;
  logic u10_logits__node_linear__weight_en;
  logic [9:0] u10_logits__node_linear__weight_addr;
  logic [31:0] u10_logits__node_linear__weight_data;
  weight_memory #(.Width(32), .Depth(720), .File("stage1_u10_logits__node_linear__weights.mem")) u_u10_logits__node_linear__weight (
    .clk_i, .en_i(u10_logits__node_linear__weight_en), .addr_i(u10_logits__node_linear__weight_addr), .data_o(u10_logits__node_linear__weight_data)
  );
  mvu #(.InLanes(64), .InWidth(4), .InSigned(0), .Beats(9), .Outputs(10), .Pe(1), .Simd(8), .WeightWidth(4), .Blocks(1), .Taps(1), .AccWidth(15), .BiasWidth(5), .Bias(50'h07abfafdfdce3), .OutWidth(15), .OutSigned(1), .Shift(0), .Round(0), .Saturate(1), .BiasShift(0)) u_u10_logits__node_linear_ (
    .clk_i, .rst_ni,
    .s_valid_i(u8_conv4__node_conv2d_3__by64_q_valid), .s_ready_o(u8_conv4__node_conv2d_3__by64_q_ready), .s_data_i(u8_conv4__node_conv2d_3__by64_q_data),
    .m_valid_o(u10_logits__node_linear__valid), .m_ready_i(u10_logits__node_linear__ready), .m_data_o(u10_logits__node_linear__data),
    .weight_en_o(u10_logits__node_linear__weight_en),
    .weight_addr_o(u10_logits__node_linear__weight_addr),
    .weight_data_i(u10_logits__node_linear__weight_data),
    .bias_en_o(), .bias_addr_o(), .bias_data_i('0), .rounding_i('0)
  );
  logic u10_logits__node_linear__by10_valid, u10_logits__node_linear__by10_ready;
  logic [149:0] u10_logits__node_linear__by10_data;
  stream_gather #(.Width(15), .Parts(10)) u_u10_logits__node_linear__by10 (
    .clk_i, .rst_ni,
    .s_valid_i(u10_logits__node_linear__valid), .s_ready_o(u10_logits__node_linear__ready), .s_data_i(u10_logits__node_linear__data),
    .m_valid_o(u10_logits__node_linear__by10_valid), .m_ready_i(u10_logits__node_linear__by10_ready), .m_data_o(u10_logits__node_linear__by10_data)
  );
  assign s_valid = s_valid_i;
  assign s_ready_o = s_ready;
  assign s_data = s_data_i;
  assign m_valid_o = u10_logits__node_linear__by10_valid;
  assign u10_logits__node_linear__by10_ready = m_ready_i;
  assign m_data_o = u10_logits__node_linear__by10_data;
endmodule
