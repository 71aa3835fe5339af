// Generated. Network `stage1`: 28x28x1 bytes in, one beat of 10 signed 15-bit logits out a frame.
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
  sliding_window #(.Channels(1), .Width(8), .ImgH(28), .ImgW(28), .Kernel(3), .Stride(1), .PadTop(0), .PadLeft(0), .PadBottom(0), .PadRight(0)) u_l0_conv2d_conv_0_window (
    .clk_i, .rst_ni,
    .s_valid_i(s_valid), .s_ready_o(s_ready), .s_data_i(s_data),
    .m_valid_o(l0_conv2d_conv_0_window_valid), .m_ready_i(l0_conv2d_conv_0_window_ready), .m_data_o(l0_conv2d_conv_0_window_data)
  );
  logic l0_conv2d_conv_0_valid, l0_conv2d_conv_0_ready;
  logic [63:0] l0_conv2d_conv_0_data;
  logic l0_conv2d_conv_0_weight_en;
  logic [3:0] l0_conv2d_conv_0_weight_addr;
  logic [47:0] l0_conv2d_conv_0_weight_data;
  weight_memory #(.Width(48), .Depth(12), .File("stage1_l0_conv2d_conv_0_weights.mem"))
  u_l0_conv2d_conv_0_weights (
    .clk_i, .en_i(l0_conv2d_conv_0_weight_en), .addr_i(l0_conv2d_conv_0_weight_addr), .data_o(l0_conv2d_conv_0_weight_data)
  );
  mvu #(.InLanes(9), .InWidth(8), .InSigned(0), .Beats(1), .Outputs(16), .Pe(4), .Simd(3), .WeightWidth(4), .AccWidth(13), .BiasWidth(10), .Bias(160'h8290064bef59c0ffc3f2d60e1f30bc5282a3644b), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(7), .Round(2), .Saturate(1)) u_l0_conv2d_conv_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l0_conv2d_conv_0_window_valid), .s_ready_o(l0_conv2d_conv_0_window_ready), .s_data_i(l0_conv2d_conv_0_window_data),
    .m_valid_o(l0_conv2d_conv_0_valid), .m_ready_i(l0_conv2d_conv_0_ready), .m_data_o(l0_conv2d_conv_0_data),
    .weight_en_o(l0_conv2d_conv_0_weight_en),
    .weight_addr_o(l0_conv2d_conv_0_weight_addr),
    .weight_data_i(l0_conv2d_conv_0_weight_data)
  );
  logic l0_conv2d_conv_0_q_valid, l0_conv2d_conv_0_q_ready;
  logic [63:0] l0_conv2d_conv_0_q_data;
  stream_fifo #(.Width(64), .Depth(26)) u_l0_conv2d_conv_0_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l0_conv2d_conv_0_valid), .s_ready_o(l0_conv2d_conv_0_ready), .s_data_i(l0_conv2d_conv_0_data),
    .m_valid_o(l0_conv2d_conv_0_q_valid), .m_ready_i(l0_conv2d_conv_0_q_ready), .m_data_o(l0_conv2d_conv_0_q_data)
  );
  logic l1_maxpool_0_valid, l1_maxpool_0_ready;
  logic [63:0] l1_maxpool_0_data;
  max_pool #(.Channels(16), .Width(4), .Signed(0), .ImgH(26), .ImgW(26), .Kernel(2), .Stride(2)) u_l1_maxpool_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l0_conv2d_conv_0_q_valid), .s_ready_o(l0_conv2d_conv_0_q_ready), .s_data_i(l0_conv2d_conv_0_q_data),
    .m_valid_o(l1_maxpool_0_valid), .m_ready_i(l1_maxpool_0_ready), .m_data_o(l1_maxpool_0_data)
  );
  logic l1_maxpool_0_q_valid, l1_maxpool_0_q_ready;
  logic [63:0] l1_maxpool_0_q_data;
  stream_fifo #(.Width(64), .Depth(13)) u_l1_maxpool_0_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l1_maxpool_0_valid), .s_ready_o(l1_maxpool_0_ready), .s_data_i(l1_maxpool_0_data),
    .m_valid_o(l1_maxpool_0_q_valid), .m_ready_i(l1_maxpool_0_q_ready), .m_data_o(l1_maxpool_0_q_data)
  );
  logic l2_conv2d_conv_1_window_valid, l2_conv2d_conv_1_window_ready;
  logic [575:0] l2_conv2d_conv_1_window_data;
  sliding_window #(.Channels(16), .Width(4), .ImgH(13), .ImgW(13), .Kernel(3), .Stride(1), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1)) u_l2_conv2d_conv_1_window (
    .clk_i, .rst_ni,
    .s_valid_i(l1_maxpool_0_q_valid), .s_ready_o(l1_maxpool_0_q_ready), .s_data_i(l1_maxpool_0_q_data),
    .m_valid_o(l2_conv2d_conv_1_window_valid), .m_ready_i(l2_conv2d_conv_1_window_ready), .m_data_o(l2_conv2d_conv_1_window_data)
  );
  logic l2_conv2d_conv_1_valid, l2_conv2d_conv_1_ready;
  logic [127:0] l2_conv2d_conv_1_data;
  logic l2_conv2d_conv_1_weight_en;
  logic [5:0] l2_conv2d_conv_1_weight_addr;
  logic [383:0] l2_conv2d_conv_1_weight_data;
  weight_memory #(.Width(384), .Depth(48), .File("stage1_l2_conv2d_conv_1_weights.mem"))
  u_l2_conv2d_conv_1_weights (
    .clk_i, .en_i(l2_conv2d_conv_1_weight_en), .addr_i(l2_conv2d_conv_1_weight_addr), .data_o(l2_conv2d_conv_1_weight_data)
  );
  mvu #(.InLanes(144), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(2), .Simd(48), .WeightWidth(4), .AccWidth(13), .BiasWidth(8), .Bias(256'h37bdc7161a2025f42636152a01390ff542f61b2d2bf6361e0616fa96d510e72c), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(3), .Round(2), .Saturate(1)) u_l2_conv2d_conv_1 (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_window_valid), .s_ready_o(l2_conv2d_conv_1_window_ready), .s_data_i(l2_conv2d_conv_1_window_data),
    .m_valid_o(l2_conv2d_conv_1_valid), .m_ready_i(l2_conv2d_conv_1_ready), .m_data_o(l2_conv2d_conv_1_data),
    .weight_en_o(l2_conv2d_conv_1_weight_en),
    .weight_addr_o(l2_conv2d_conv_1_weight_addr),
    .weight_data_i(l2_conv2d_conv_1_weight_data)
  );
  logic l2_conv2d_conv_1_q_valid, l2_conv2d_conv_1_q_ready;
  logic [127:0] l2_conv2d_conv_1_q_data;
  stream_fifo #(.Width(128), .Depth(13)) u_l2_conv2d_conv_1_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_valid), .s_ready_o(l2_conv2d_conv_1_ready), .s_data_i(l2_conv2d_conv_1_data),
    .m_valid_o(l2_conv2d_conv_1_q_valid), .m_ready_i(l2_conv2d_conv_1_q_ready), .m_data_o(l2_conv2d_conv_1_q_data)
  );
  logic l3_conv2d_conv_2_window_valid, l3_conv2d_conv_2_window_ready;
  logic [1151:0] l3_conv2d_conv_2_window_data;
  sliding_window #(.Channels(32), .Width(4), .ImgH(13), .ImgW(13), .Kernel(3), .Stride(1), .PadTop(0), .PadLeft(0), .PadBottom(0), .PadRight(0)) u_l3_conv2d_conv_2_window (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_q_valid), .s_ready_o(l2_conv2d_conv_1_q_ready), .s_data_i(l2_conv2d_conv_1_q_data),
    .m_valid_o(l3_conv2d_conv_2_window_valid), .m_ready_i(l3_conv2d_conv_2_window_ready), .m_data_o(l3_conv2d_conv_2_window_data)
  );
  logic l3_conv2d_conv_2_valid, l3_conv2d_conv_2_ready;
  logic [127:0] l3_conv2d_conv_2_data;
  logic l3_conv2d_conv_2_weight_en;
  logic [6:0] l3_conv2d_conv_2_weight_addr;
  logic [511:0] l3_conv2d_conv_2_weight_data;
  weight_memory #(.Width(512), .Depth(72), .File("stage1_l3_conv2d_conv_2_weights.mem"))
  u_l3_conv2d_conv_2_weights (
    .clk_i, .en_i(l3_conv2d_conv_2_weight_en), .addr_i(l3_conv2d_conv_2_weight_addr), .data_o(l3_conv2d_conv_2_weight_data)
  );
  mvu #(.InLanes(288), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(4), .Simd(32), .WeightWidth(4), .AccWidth(14), .BiasWidth(10), .Bias(320'h593671f44f02fbc32477017950a4b1da80611022120caf405032aac3508f1fc46eb8e40907813412), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(6), .Round(2), .Saturate(1)) u_l3_conv2d_conv_2 (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_window_valid), .s_ready_o(l3_conv2d_conv_2_window_ready), .s_data_i(l3_conv2d_conv_2_window_data),
    .m_valid_o(l3_conv2d_conv_2_valid), .m_ready_i(l3_conv2d_conv_2_ready), .m_data_o(l3_conv2d_conv_2_data),
    .weight_en_o(l3_conv2d_conv_2_weight_en),
    .weight_addr_o(l3_conv2d_conv_2_weight_addr),
    .weight_data_i(l3_conv2d_conv_2_weight_data)
  );
  logic l3_conv2d_conv_2_q_valid, l3_conv2d_conv_2_q_ready;
  logic [127:0] l3_conv2d_conv_2_q_data;
  stream_fifo #(.Width(128), .Depth(11)) u_l3_conv2d_conv_2_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_valid), .s_ready_o(l3_conv2d_conv_2_ready), .s_data_i(l3_conv2d_conv_2_data),
    .m_valid_o(l3_conv2d_conv_2_q_valid), .m_ready_i(l3_conv2d_conv_2_q_ready), .m_data_o(l3_conv2d_conv_2_q_data)
  );
  logic l4_maxpool_1_valid, l4_maxpool_1_ready;
  logic [127:0] l4_maxpool_1_data;
  max_pool #(.Channels(32), .Width(4), .Signed(0), .ImgH(11), .ImgW(11), .Kernel(2), .Stride(2)) u_l4_maxpool_1 (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_q_valid), .s_ready_o(l3_conv2d_conv_2_q_ready), .s_data_i(l3_conv2d_conv_2_q_data),
    .m_valid_o(l4_maxpool_1_valid), .m_ready_i(l4_maxpool_1_ready), .m_data_o(l4_maxpool_1_data)
  );
  logic l4_maxpool_1_q_valid, l4_maxpool_1_q_ready;
  logic [127:0] l4_maxpool_1_q_data;
  stream_fifo #(.Width(128), .Depth(5)) u_l4_maxpool_1_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l4_maxpool_1_valid), .s_ready_o(l4_maxpool_1_ready), .s_data_i(l4_maxpool_1_data),
    .m_valid_o(l4_maxpool_1_q_valid), .m_ready_i(l4_maxpool_1_q_ready), .m_data_o(l4_maxpool_1_q_data)
  );
  logic l5_conv2d_conv_3_window_valid, l5_conv2d_conv_3_window_ready;
  logic [1151:0] l5_conv2d_conv_3_window_data;
  sliding_window #(.Channels(32), .Width(4), .ImgH(5), .ImgW(5), .Kernel(3), .Stride(1), .PadTop(0), .PadLeft(0), .PadBottom(0), .PadRight(0)) u_l5_conv2d_conv_3_window (
    .clk_i, .rst_ni,
    .s_valid_i(l4_maxpool_1_q_valid), .s_ready_o(l4_maxpool_1_q_ready), .s_data_i(l4_maxpool_1_q_data),
    .m_valid_o(l5_conv2d_conv_3_window_valid), .m_ready_i(l5_conv2d_conv_3_window_ready), .m_data_o(l5_conv2d_conv_3_window_data)
  );
  logic l5_conv2d_conv_3_valid, l5_conv2d_conv_3_ready;
  logic [255:0] l5_conv2d_conv_3_data;
  logic l5_conv2d_conv_3_weight_en;
  logic [9:0] l5_conv2d_conv_3_weight_addr;
  logic [71:0] l5_conv2d_conv_3_weight_data;
  weight_memory #(.Width(72), .Depth(1024), .File("stage1_l5_conv2d_conv_3_weights.mem"))
  u_l5_conv2d_conv_3_weights (
    .clk_i, .en_i(l5_conv2d_conv_3_weight_en), .addr_i(l5_conv2d_conv_3_weight_addr), .data_o(l5_conv2d_conv_3_weight_data)
  );
  mvu #(.InLanes(288), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(64), .Pe(1), .Simd(18), .WeightWidth(4), .AccWidth(14), .BiasWidth(10), .Bias(640'h3045c1206a3388c3cffcf74ec118a844ceb22b4e178c233049fec091ccb2fe4770e88cd413621807f98012ec1afd4822304f0144f0c48b0e44efc4002f4381db770b8ed3c7d9f77511987a2006e23bc0), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(4), .Round(2), .Saturate(1)) u_l5_conv2d_conv_3 (
    .clk_i, .rst_ni,
    .s_valid_i(l5_conv2d_conv_3_window_valid), .s_ready_o(l5_conv2d_conv_3_window_ready), .s_data_i(l5_conv2d_conv_3_window_data),
    .m_valid_o(l5_conv2d_conv_3_valid), .m_ready_i(l5_conv2d_conv_3_ready), .m_data_o(l5_conv2d_conv_3_data),
    .weight_en_o(l5_conv2d_conv_3_weight_en),
    .weight_addr_o(l5_conv2d_conv_3_weight_addr),
    .weight_data_i(l5_conv2d_conv_3_weight_data)
  );
  logic l5_conv2d_conv_3_q_valid, l5_conv2d_conv_3_q_ready;
  logic [255:0] l5_conv2d_conv_3_q_data;
  stream_fifo #(.Width(256), .Depth(3)) u_l5_conv2d_conv_3_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l5_conv2d_conv_3_valid), .s_ready_o(l5_conv2d_conv_3_ready), .s_data_i(l5_conv2d_conv_3_data),
    .m_valid_o(l5_conv2d_conv_3_q_valid), .m_ready_i(l5_conv2d_conv_3_q_ready), .m_data_o(l5_conv2d_conv_3_q_data)
  );
  logic l6_dense_matmul_0_valid, l6_dense_matmul_0_ready;
  logic [149:0] l6_dense_matmul_0_data;
  logic l6_dense_matmul_0_weight_en;
  logic [12:0] l6_dense_matmul_0_weight_addr;
  logic [3:0] l6_dense_matmul_0_weight_data;
  weight_memory #(.Width(4), .Depth(5760), .File("stage1_l6_dense_matmul_0_weights.mem"))
  u_l6_dense_matmul_0_weights (
    .clk_i, .en_i(l6_dense_matmul_0_weight_en), .addr_i(l6_dense_matmul_0_weight_addr), .data_o(l6_dense_matmul_0_weight_data)
  );
  mvu #(.InLanes(64), .InWidth(4), .InSigned(0), .Beats(9), .Outputs(10), .Pe(1), .Simd(1), .WeightWidth(4), .AccWidth(15), .BiasWidth(6), .Bias(60'hf06b863c002bb04), .BiasShift(0), .OutWidth(15), .OutSigned(1), .Shift(0), .Round(0), .Saturate(0)) u_l6_dense_matmul_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l5_conv2d_conv_3_q_valid), .s_ready_o(l5_conv2d_conv_3_q_ready), .s_data_i(l5_conv2d_conv_3_q_data),
    .m_valid_o(l6_dense_matmul_0_valid), .m_ready_i(l6_dense_matmul_0_ready), .m_data_o(l6_dense_matmul_0_data),
    .weight_en_o(l6_dense_matmul_0_weight_en),
    .weight_addr_o(l6_dense_matmul_0_weight_addr),
    .weight_data_i(l6_dense_matmul_0_weight_data)
  );
  assign m_valid_o = l6_dense_matmul_0_valid;
  assign l6_dense_matmul_0_ready = m_ready_i;
  assign m_data_o = l6_dense_matmul_0_data;
endmodule
