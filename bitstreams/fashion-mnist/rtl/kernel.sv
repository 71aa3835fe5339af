// Generated. The kernel: AXI4-Stream frames in, result records out, AXI4-Lite registers; see cascade.sv.
module kernel (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic [63:0] s_axis_tdata,
  input  logic [7:0] s_axis_tkeep,
  input  logic s_axis_tvalid,
  output logic s_axis_tready,
  input  logic s_axis_tlast,
  output logic [63:0] m_axis_tdata,
  output logic [7:0] m_axis_tkeep,
  output logic m_axis_tvalid,
  input  logic m_axis_tready,
  output logic m_axis_tlast,
  input  logic [11:0] s_axil_awaddr,
  input  logic s_axil_awvalid,
  output logic s_axil_awready,
  input  logic [31:0] s_axil_wdata,
  input  logic [3:0] s_axil_wstrb,
  input  logic s_axil_wvalid,
  output logic s_axil_wready,
  output logic [1:0] s_axil_bresp,
  output logic s_axil_bvalid,
  input  logic s_axil_bready,
  input  logic [11:0] s_axil_araddr,
  input  logic s_axil_arvalid,
  output logic s_axil_arready,
  output logic [31:0] s_axil_rdata,
  output logic [1:0] s_axil_rresp,
  output logic s_axil_rvalid,
  input  logic s_axil_rready,
  output logic tap0_valid_o,
  output logic [31:0] tap0_tag_o,
  output logic [129:0] tap0_logits_o,
  output logic tap1_valid_o,
  output logic [31:0] tap1_tag_o,
  output logic [149:0] tap1_logits_o
);
  logic core_rst_n;
  logic pixel0_valid, pixel0_ready, logits0_valid, logits0_ready;
  logic [7:0] pixel0_data;
  logic [129:0] logits0_data;
  assign tap0_logits_o = logits0_data;
  logic pixel1_valid, pixel1_ready, logits1_valid, logits1_ready;
  logic [7:0] pixel1_data;
  logic [149:0] logits1_data;
  assign tap1_logits_o = logits1_data;
  cascade #(
    .Pixels(784), .Channels(1), .Classes(10),
    .LogitWidth0(13), .LogitWidth1(15),
    .FrameSlots(8), .BuildHash(32'hc171dab6), .WeightsHash(32'h5ee66d40)
  ) u_cascade (
    .clk_i, .rst_ni, .s_axis_tdata, .s_axis_tkeep, .s_axis_tvalid, .s_axis_tready, .s_axis_tlast, .m_axis_tdata, .m_axis_tkeep, .m_axis_tvalid, .m_axis_tready, .m_axis_tlast, .s_axil_awaddr, .s_axil_awvalid, .s_axil_awready, .s_axil_wdata, .s_axil_wstrb, .s_axil_wvalid, .s_axil_wready, .s_axil_bresp, .s_axil_bvalid, .s_axil_bready, .s_axil_araddr, .s_axil_arvalid, .s_axil_arready, .s_axil_rdata, .s_axil_rresp, .s_axil_rvalid, .s_axil_rready,
    .core_rst_no(core_rst_n),
    .pixel0_valid_o(pixel0_valid), .pixel0_ready_i(pixel0_ready), .pixel0_data_o(pixel0_data),
    .logits0_valid_i(logits0_valid), .logits0_ready_o(logits0_ready), .logits0_data_i(logits0_data),
    .tap0_valid_o, .tap0_tag_o,
    .pixel1_valid_o(pixel1_valid), .pixel1_ready_i(pixel1_ready), .pixel1_data_o(pixel1_data),
    .logits1_valid_i(logits1_valid), .logits1_ready_o(logits1_ready), .logits1_data_i(logits1_data),
    .tap1_valid_o, .tap1_tag_o
  );
  stage0 u_stage0 (
    .clk_i, .rst_ni(core_rst_n),
    .s_valid_i(pixel0_valid), .s_ready_o(pixel0_ready), .s_data_i(pixel0_data),
    .m_valid_o(logits0_valid), .m_ready_i(logits0_ready), .m_data_o(logits0_data)
  );
  stage1 u_stage1 (
    .clk_i, .rst_ni(core_rst_n),
    .s_valid_i(pixel1_valid), .s_ready_o(pixel1_ready), .s_data_i(pixel1_data),
    .m_valid_o(logits1_valid), .m_ready_i(logits1_ready), .m_data_o(logits1_data)
  );
endmodule
