// Generated. Network `stage0`: 8x8x1 bytes in, one beat of 10 signed 13-bit logits out a frame.
module stage0 (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic s_valid_i,
  output logic s_ready_o,
  input  logic [7:0] s_data_i,
  output logic m_valid_o,
  input  logic m_ready_i,
  output logic [129:0] m_data_o
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
  logic [0:0] l0_conv2d_conv_0_weight_addr;
  logic [215:0] l0_conv2d_conv_0_weight_data;
  weight_memory #(.Width(216), .Depth(2), .File("stage0_l0_conv2d_conv_0_weights.mem"))
  u_l0_conv2d_conv_0_weights (
    .clk_i, .en_i(l0_conv2d_conv_0_weight_en), .addr_i(l0_conv2d_conv_0_weight_addr), .data_o(l0_conv2d_conv_0_weight_data)
  );
  mvu #(.InLanes(9), .InWidth(8), .InSigned(0), .Beats(1), .Outputs(16), .Pe(8), .Simd(9), .WeightWidth(3), .AccWidth(13), .BiasWidth(11), .Bias(176'ha6273081fee2bbfbc3872bbbc6eadf0cb75d9b494fbf), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(7), .Round(2), .Saturate(1)) u_l0_conv2d_conv_0 (
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
  logic [63:0] l2_conv2d_conv_1_data;
  logic l2_conv2d_conv_1_weight_en;
  logic [3:0] l2_conv2d_conv_1_weight_addr;
  logic [767:0] l2_conv2d_conv_1_weight_data;
  weight_memory #(.Width(768), .Depth(9), .File("stage0_l2_conv2d_conv_1_weights.mem"))
  u_l2_conv2d_conv_1_weights (
    .clk_i, .en_i(l2_conv2d_conv_1_weight_en), .addr_i(l2_conv2d_conv_1_weight_addr), .data_o(l2_conv2d_conv_1_weight_data)
  );
  mvu #(.InLanes(144), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(16), .Pe(16), .Simd(16), .WeightWidth(3), .AccWidth(12), .BiasWidth(7), .Bias(112'h1a6c12355b81da026fa1b1a07ea8), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(3), .Round(2), .Saturate(1)) u_l2_conv2d_conv_1 (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_window_valid), .s_ready_o(l2_conv2d_conv_1_window_ready), .s_data_i(l2_conv2d_conv_1_window_data),
    .m_valid_o(l2_conv2d_conv_1_valid), .m_ready_i(l2_conv2d_conv_1_ready), .m_data_o(l2_conv2d_conv_1_data),
    .weight_en_o(l2_conv2d_conv_1_weight_en),
    .weight_addr_o(l2_conv2d_conv_1_weight_addr),
    .weight_data_i(l2_conv2d_conv_1_weight_data)
  );
  logic l2_conv2d_conv_1_q_valid, l2_conv2d_conv_1_q_ready;
  logic [63:0] l2_conv2d_conv_1_q_data;
  stream_fifo #(.Width(64), .Depth(3)) u_l2_conv2d_conv_1_fifo (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_valid), .s_ready_o(l2_conv2d_conv_1_ready), .s_data_i(l2_conv2d_conv_1_data),
    .m_valid_o(l2_conv2d_conv_1_q_valid), .m_ready_i(l2_conv2d_conv_1_q_ready), .m_data_o(l2_conv2d_conv_1_q_data)
  );
  logic l3_conv2d_conv_2_window_valid, l3_conv2d_conv_2_window_ready;
  logic [575:0] l3_conv2d_conv_2_window_data;
  sliding_window #(.Channels(16), .Width(4), .ImgH(3), .ImgW(3), .Kernel(3), .Stride(1), .PadTop(1), .PadLeft(1), .PadBottom(1), .PadRight(1)) u_l3_conv2d_conv_2_window (
    .clk_i, .rst_ni,
    .s_valid_i(l2_conv2d_conv_1_q_valid), .s_ready_o(l2_conv2d_conv_1_q_ready), .s_data_i(l2_conv2d_conv_1_q_data),
    .m_valid_o(l3_conv2d_conv_2_window_valid), .m_ready_i(l3_conv2d_conv_2_window_ready), .m_data_o(l3_conv2d_conv_2_window_data)
  );
  logic l3_conv2d_conv_2_valid, l3_conv2d_conv_2_ready;
  logic [127:0] l3_conv2d_conv_2_data;
  logic l3_conv2d_conv_2_weight_en;
  logic [3:0] l3_conv2d_conv_2_weight_addr;
  logic [1535:0] l3_conv2d_conv_2_weight_data;
  weight_memory #(.Width(1536), .Depth(9), .File("stage0_l3_conv2d_conv_2_weights.mem"))
  u_l3_conv2d_conv_2_weights (
    .clk_i, .en_i(l3_conv2d_conv_2_weight_en), .addr_i(l3_conv2d_conv_2_weight_addr), .data_o(l3_conv2d_conv_2_weight_data)
  );
  mvu #(.InLanes(144), .InWidth(4), .InSigned(0), .Beats(1), .Outputs(32), .Pe(32), .Simd(16), .WeightWidth(3), .AccWidth(12), .BiasWidth(8), .Bias(256'h01100607292325072a2524fe20f8402d1519192a1a04032f230c201a1e2b2630), .BiasShift(0), .OutWidth(4), .OutSigned(0), .Shift(3), .Round(2), .Saturate(1)) u_l3_conv2d_conv_2 (
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
  logic l4_dense_matmul_0_valid, l4_dense_matmul_0_ready;
  logic [129:0] l4_dense_matmul_0_data;
  logic l4_dense_matmul_0_weight_en;
  logic [6:0] l4_dense_matmul_0_weight_addr;
  logic [95:0] l4_dense_matmul_0_weight_data;
  weight_memory #(.Width(96), .Depth(90), .File("stage0_l4_dense_matmul_0_weights.mem"))
  u_l4_dense_matmul_0_weights (
    .clk_i, .en_i(l4_dense_matmul_0_weight_en), .addr_i(l4_dense_matmul_0_weight_addr), .data_o(l4_dense_matmul_0_weight_data)
  );
  mvu #(.InLanes(32), .InWidth(4), .InSigned(0), .Beats(9), .Outputs(10), .Pe(1), .Simd(32), .WeightWidth(3), .AccWidth(13), .BiasWidth(4), .Bias(40'h411d000cf2), .BiasShift(0), .OutWidth(13), .OutSigned(1), .Shift(0), .Round(0), .Saturate(0)) u_l4_dense_matmul_0 (
    .clk_i, .rst_ni,
    .s_valid_i(l3_conv2d_conv_2_q_valid), .s_ready_o(l3_conv2d_conv_2_q_ready), .s_data_i(l3_conv2d_conv_2_q_data),
    .m_valid_o(l4_dense_matmul_0_valid), .m_ready_i(l4_dense_matmul_0_ready), .m_data_o(l4_dense_matmul_0_data),
    .weight_en_o(l4_dense_matmul_0_weight_en),
    .weight_addr_o(l4_dense_matmul_0_weight_addr),
    .weight_data_i(l4_dense_matmul_0_weight_data)
  );
  assign m_valid_o = l4_dense_matmul_0_valid;
  assign l4_dense_matmul_0_ready = m_ready_i;
  assign m_data_o = l4_dense_matmul_0_data;
endmodule
