// Generated. Network `stage1`: 8x8x1 bytes in, one beat of 10 signed 15-bit logits out a frame.
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
  assign s_valid = s_valid_i;
  assign s_ready_o = s_ready;
  assign s_data = s_data_i;
  logic l0_conv2d_conv_0_window_valid, l0_conv2d_conv_0_window_ready;
  logic [71:0] l0_conv2d_conv_0_window_data;
  sliding_window #(.Channels(1), .Width(8), .ImgH(8), .ImgW(8), .Kernel(3), .Stride(1), .PadTop(0), .PadLeft(0), .PadBottom(0), .PadRight(0)) u_l0_conv2d_conv_0_window (
    .clk_i, .rst_ni,
    .s_valid_i(s_valid), .s_ready_o(s_ready), .s_data_i(s_data),
    .m_valid_o(l0_conv2d_conv_0_window_valid), .m_ready_i(l0_conv2d_conv_0_window_ready), .m_data_o(l0_conv2d_conv_0_window_data)
  );
  logic l0_conv2d_conv_0_valid, l0_conv2d_conv_0_ready;
  logic [63:0] l0_conv2d_conv_0_data;
  logic l0_conv2d_conv_0_weight_en;
  logic [4:0] l0_conv2d_conv_0_weight_addr;
  logic [23:0] l0_conv2d_conv_0_weight_data;
  weight_memory #(.Width(24), .Depth(24), .File("stage1_l0_conv2d_conv_0_weights.mem"))
  u_l0_conv2d_conv_0_weights (
    .clk_i, .en_i(l0_conv2d_conv_0_weight_en), .addr_i(l0_conv2d_conv_0_weight_addr), .data_o(l0_conv2d_conv_0_weight_data)
  );
  mvu #(.InLanes(9), .InWidth(8), .InSigned(0), .Beats(1), .Outputs(16), .Pe(2), .Simd(3), .WeightWidth(4), .AccWidth(14), .BiasWidth(12), .Bias(192'ha433b122af57476f3af56e75b7e40fb9109c74ed5a33eff9), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(8), .Round(2), .Saturate(1)) u_l0_conv2d_conv_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l0_conv2d_conv_0_window_valid), .s_ready_o(l0_conv2d_conv_0_window_ready), .s_data_i(l0_conv2d_conv_0_window_data),
    .m_valid_o(l0_conv2d_conv_0_valid), .m_ready_i(l0_conv2d_conv_0_ready), .m_data_o(l0_conv2d_conv_0_data),
    .weight_en_o(l0_conv2d_conv_0_weight_en),
    .weight_addr_o(l0_conv2d_conv_0_weight_addr),
    .weight_data_i(l0_conv2d_conv_0_weight_data)
  );
  logic l0_conv2d_conv_0_q_valid, l0_conv2d_conv_0_q_ready;
  logic [63:0] l0_conv2d_conv_0_q_data;
  stream_fifo #(.Width(64), .Depth(6)) u_l0_conv2d_conv_0_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l0_conv2d_conv_0_valid), .s_ready_o(l0_conv2d_conv_0_ready), .s_data_i(l0_conv2d_conv_0_data),
    .m_valid_o(l0_conv2d_conv_0_q_valid), .m_ready_i(l0_conv2d_conv_0_q_ready), .m_data_o(l0_conv2d_conv_0_q_data)
  );
  logic l1_maxpool_0_valid, l1_maxpool_0_ready;
  logic [63:0] l1_maxpool_0_data;
  max_pool #(.Channels(16), .Width(4), .Signed(0), .ImgH(6), .ImgW(6), .Kernel(2), .Stride(2)) u_l1_maxpool_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l0_conv2d_conv_0_q_valid), .s_ready_o(l0_conv2d_conv_0_q_ready), .s_data_i(l0_conv2d_conv_0_q_data),
    .m_valid_o(l1_maxpool_0_valid), .m_ready_i(l1_maxpool_0_ready), .m_data_o(l1_maxpool_0_data)
  );
  logic l1_maxpool_0_q_valid, l1_maxpool_0_q_ready;
  logic [63:0] l1_maxpool_0_q_data;
  stream_fifo #(.Width(64), .Depth(3)) u_l1_maxpool_0_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l1_maxpool_0_valid), .s_ready_o(l1_maxpool_0_ready), .s_data_i(l1_maxpool_0_data),
    .m_valid_o(l1_maxpool_0_q_valid), .m_ready_i(l1_maxpool_0_q_ready), .m_data_o(l1_maxpool_0_q_data)
  );
  logic l2_conv2d_conv_1_window_valid, l2_conv2d_conv_1_window_ready;
  logic [575:0] l2_conv2d_conv_1_window_data;
  sliding_window #(.Channels(16), .Width(4), .ImgH(3), .ImgW(3), .Kernel(3), .Stride(1), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1)) u_l2_conv2d_conv_1_window (
    .clk_i, .rst_ni,
    .s_valid_i(l1_maxpool_0_q_valid), .s_ready_o(l1_maxpool_0_q_ready), .s_data_i(l1_maxpool_0_q_data),
    .m_valid_o(l2_conv2d_conv_1_window_valid), .m_ready_i(l2_conv2d_conv_1_window_ready), .m_data_o(l2_conv2d_conv_1_window_data)
  );
  logic l2_conv2d_conv_1_valid, l2_conv2d_conv_1_ready;
  logic [127:0] l2_conv2d_conv_1_data;
  logic l2_conv2d_conv_1_weight_en;
  logic [6:0] l2_conv2d_conv_1_weight_addr;
  logic [191:0] l2_conv2d_conv_1_weight_data;
  weight_memory #(.Width(192), .Depth(96), .File("stage1_l2_conv2d_conv_1_weights.mem"))
  u_l2_conv2d_conv_1_weights (
    .clk_i, .en_i(l2_conv2d_conv_1_weight_en), .addr_i(l2_conv2d_conv_1_weight_addr), .data_o(l2_conv2d_conv_1_weight_data)
  );
  mvu #(.InLanes(144), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(1), .Simd(48), .WeightWidth(4), .AccWidth(13), .BiasWidth(9), .Bias(288'h218549800ed087fffb5f89c4a09da8c7fa4ef2ff02819027c481f1029640813048bf7060), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(4), .Round(2), .Saturate(1)) u_l2_conv2d_conv_1 (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_window_valid), .s_ready_o(l2_conv2d_conv_1_window_ready), .s_data_i(l2_conv2d_conv_1_window_data),
    .m_valid_o(l2_conv2d_conv_1_valid), .m_ready_i(l2_conv2d_conv_1_ready), .m_data_o(l2_conv2d_conv_1_data),
    .weight_en_o(l2_conv2d_conv_1_weight_en),
    .weight_addr_o(l2_conv2d_conv_1_weight_addr),
    .weight_data_i(l2_conv2d_conv_1_weight_data)
  );
  logic l2_conv2d_conv_1_q_valid, l2_conv2d_conv_1_q_ready;
  logic [127:0] l2_conv2d_conv_1_q_data;
  stream_fifo #(.Width(128), .Depth(3)) u_l2_conv2d_conv_1_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_valid), .s_ready_o(l2_conv2d_conv_1_ready), .s_data_i(l2_conv2d_conv_1_data),
    .m_valid_o(l2_conv2d_conv_1_q_valid), .m_ready_i(l2_conv2d_conv_1_q_ready), .m_data_o(l2_conv2d_conv_1_q_data)
  );
  logic l3_conv2d_conv_2_window_valid, l3_conv2d_conv_2_window_ready;
  logic [1151:0] l3_conv2d_conv_2_window_data;
  sliding_window #(.Channels(32), .Width(4), .ImgH(3), .ImgW(3), .Kernel(3), .Stride(1), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1)) u_l3_conv2d_conv_2_window (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_q_valid), .s_ready_o(l2_conv2d_conv_1_q_ready), .s_data_i(l2_conv2d_conv_1_q_data),
    .m_valid_o(l3_conv2d_conv_2_window_valid), .m_ready_i(l3_conv2d_conv_2_window_ready), .m_data_o(l3_conv2d_conv_2_window_data)
  );
  logic l3_conv2d_conv_2_valid, l3_conv2d_conv_2_ready;
  logic [127:0] l3_conv2d_conv_2_data;
  logic l3_conv2d_conv_2_weight_en;
  logic [6:0] l3_conv2d_conv_2_weight_addr;
  logic [383:0] l3_conv2d_conv_2_weight_data;
  weight_memory #(.Width(384), .Depth(96), .File("stage1_l3_conv2d_conv_2_weights.mem"))
  u_l3_conv2d_conv_2_weights (
    .clk_i, .en_i(l3_conv2d_conv_2_weight_en), .addr_i(l3_conv2d_conv_2_weight_addr), .data_o(l3_conv2d_conv_2_weight_data)
  );
  mvu #(.InLanes(288), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(1), .Simd(96), .WeightWidth(4), .AccWidth(14), .BiasWidth(9), .Bias(288'h217435fd61b8a3e3ec200684281221a4941a227f38608370642453f105c0e4d2001860b8), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(5), .Round(2), .Saturate(1)) u_l3_conv2d_conv_2 (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_window_valid), .s_ready_o(l3_conv2d_conv_2_window_ready), .s_data_i(l3_conv2d_conv_2_window_data),
    .m_valid_o(l3_conv2d_conv_2_valid), .m_ready_i(l3_conv2d_conv_2_ready), .m_data_o(l3_conv2d_conv_2_data),
    .weight_en_o(l3_conv2d_conv_2_weight_en),
    .weight_addr_o(l3_conv2d_conv_2_weight_addr),
    .weight_data_i(l3_conv2d_conv_2_weight_data)
  );
  logic l3_conv2d_conv_2_q_valid, l3_conv2d_conv_2_q_ready;
  logic [127:0] l3_conv2d_conv_2_q_data;
  stream_fifo #(.Width(128), .Depth(3)) u_l3_conv2d_conv_2_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_valid), .s_ready_o(l3_conv2d_conv_2_ready), .s_data_i(l3_conv2d_conv_2_data),
    .m_valid_o(l3_conv2d_conv_2_q_valid), .m_ready_i(l3_conv2d_conv_2_q_ready), .m_data_o(l3_conv2d_conv_2_q_data)
  );
  logic l4_conv2d_conv_3_window_valid, l4_conv2d_conv_3_window_ready;
  logic [1151:0] l4_conv2d_conv_3_window_data;
  sliding_window #(.Channels(32), .Width(4), .ImgH(3), .ImgW(3), .Kernel(3), .Stride(1), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1)) u_l4_conv2d_conv_3_window (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_q_valid), .s_ready_o(l3_conv2d_conv_2_q_ready), .s_data_i(l3_conv2d_conv_2_q_data),
    .m_valid_o(l4_conv2d_conv_3_window_valid), .m_ready_i(l4_conv2d_conv_3_window_ready), .m_data_o(l4_conv2d_conv_3_window_data)
  );
  logic l4_conv2d_conv_3_valid, l4_conv2d_conv_3_ready;
  logic [255:0] l4_conv2d_conv_3_data;
  logic l4_conv2d_conv_3_weight_en;
  logic [6:0] l4_conv2d_conv_3_weight_addr;
  logic [767:0] l4_conv2d_conv_3_weight_data;
  weight_memory #(.Width(768), .Depth(96), .File("stage1_l4_conv2d_conv_3_weights.mem"))
  u_l4_conv2d_conv_3_weights (
    .clk_i, .en_i(l4_conv2d_conv_3_weight_en), .addr_i(l4_conv2d_conv_3_weight_addr), .data_o(l4_conv2d_conv_3_weight_data)
  );
  mvu #(.InLanes(288), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(64), .Pe(2), .Simd(96), .WeightWidth(4), .AccWidth(15), .BiasWidth(10), .Bias(640'h3b4cb278a12a0630ac8c2287b1d02c2585e21827174690acc8197ec1947f23cbb288ad29c86054a21e083190422ec3b1245e124ae14009343f9068da458510a05223c80128670b84f1308c1143f1d02f), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(5), .Round(2), .Saturate(1)) u_l4_conv2d_conv_3 (
    .clk_i, .rst_ni,
    .s_valid_i(l4_conv2d_conv_3_window_valid), .s_ready_o(l4_conv2d_conv_3_window_ready), .s_data_i(l4_conv2d_conv_3_window_data),
    .m_valid_o(l4_conv2d_conv_3_valid), .m_ready_i(l4_conv2d_conv_3_ready), .m_data_o(l4_conv2d_conv_3_data),
    .weight_en_o(l4_conv2d_conv_3_weight_en),
    .weight_addr_o(l4_conv2d_conv_3_weight_addr),
    .weight_data_i(l4_conv2d_conv_3_weight_data)
  );
  logic l4_conv2d_conv_3_q_valid, l4_conv2d_conv_3_q_ready;
  logic [255:0] l4_conv2d_conv_3_q_data;
  stream_fifo #(.Width(256), .Depth(3)) u_l4_conv2d_conv_3_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l4_conv2d_conv_3_valid), .s_ready_o(l4_conv2d_conv_3_ready), .s_data_i(l4_conv2d_conv_3_data),
    .m_valid_o(l4_conv2d_conv_3_q_valid), .m_ready_i(l4_conv2d_conv_3_q_ready), .m_data_o(l4_conv2d_conv_3_q_data)
  );
  logic l5_dense_matmul_0_valid, l5_dense_matmul_0_ready;
  logic [149:0] l5_dense_matmul_0_data;
  logic l5_dense_matmul_0_weight_en;
  logic [9:0] l5_dense_matmul_0_weight_addr;
  logic [31:0] l5_dense_matmul_0_weight_data;
  weight_memory #(.Width(32), .Depth(720), .File("stage1_l5_dense_matmul_0_weights.mem"))
  u_l5_dense_matmul_0_weights (
    .clk_i, .en_i(l5_dense_matmul_0_weight_en), .addr_i(l5_dense_matmul_0_weight_addr), .data_o(l5_dense_matmul_0_weight_data)
  );
  mvu #(.InLanes(64), .InWidth(4), .InSigned(0), .Beats(9), .Outputs(10), .Pe(1), .Simd(8), .WeightWidth(4), .AccWidth(15), .BiasWidth(5), .Bias(50'h07abfafdfdce3), .BiasShift(0), .OutWidth(15), .OutSigned(1), .Shift(0), .Round(0), .Saturate(0)) u_l5_dense_matmul_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l4_conv2d_conv_3_q_valid), .s_ready_o(l4_conv2d_conv_3_q_ready), .s_data_i(l4_conv2d_conv_3_q_data),
    .m_valid_o(l5_dense_matmul_0_valid), .m_ready_i(l5_dense_matmul_0_ready), .m_data_o(l5_dense_matmul_0_data),
    .weight_en_o(l5_dense_matmul_0_weight_en),
    .weight_addr_o(l5_dense_matmul_0_weight_addr),
    .weight_data_i(l5_dense_matmul_0_weight_data)
  );
  assign m_valid_o = l5_dense_matmul_0_valid;
  assign l5_dense_matmul_0_ready = m_ready_i;
  assign m_data_o = l5_dense_matmul_0_data;
endmodule
