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
  output logic [1:0] tap_valid_o,
  output logic [63:0] tap_tag_o,
  output logic [299:0] tap_logits_o
);
  logic core_rst_n;
  logic [1:0] pixel_valid, pixel_ready, logits_valid, logits_ready;
  /* verilator lint_off UNUSEDSIGNAL */
  logic [1:0] verdict_valid, verdict_pass;
  weights_pkg::bus_t weights;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [1:0][7:0] pixel_data;
  logic [1:0][149:0] logits;
  assign tap_logits_o = logits;
  cascade #(
    .Stages(2), .Pixels(64), .Channels(1), .Classes(10),
    .FromTrunk(0),
    .LogitsInRecord(0), .LogitBeats(1),
    .LogitWidth(15), .FrameSlots(8),
    .BuildHash(32'ha5eeaec8), .WeightsHash(32'hb850cbc9), .WeightsWords(0)
  ) u_cascade (
    .clk_i, .rst_ni, .s_axis_tdata, .s_axis_tkeep, .s_axis_tvalid, .s_axis_tready, .s_axis_tlast, .m_axis_tdata, .m_axis_tkeep, .m_axis_tvalid, .m_axis_tready, .m_axis_tlast, .s_axil_awaddr, .s_axil_awvalid, .s_axil_awready, .s_axil_wdata, .s_axil_wstrb, .s_axil_wvalid, .s_axil_wready, .s_axil_bresp, .s_axil_bvalid, .s_axil_bready, .s_axil_araddr, .s_axil_arvalid, .s_axil_arready, .s_axil_rdata, .s_axil_rresp, .s_axil_rvalid, .s_axil_rready,
    .core_rst_no(core_rst_n), .weights_o(weights),
    .pixel_valid_o(pixel_valid), .pixel_ready_i(pixel_ready), .pixel_data_o(pixel_data),
    .logits_valid_i(logits_valid), .logits_ready_o(logits_ready), .logits_data_i(logits),
    .verdict_valid_o(verdict_valid), .verdict_pass_o(verdict_pass),
    .tap_valid_o, .tap_tag_o
  );
  logic [7:0] pixel0;
  assign pixel0 = pixel_data[0];
  logic [129:0] logits0;
  stage0 u_stage0 (
    .clk_i, .rst_ni(core_rst_n),
    .s_valid_i(pixel_valid[0]), .s_ready_o(pixel_ready[0]), .s_data_i(pixel0),
    .m_valid_o(logits_valid[0]), .m_ready_i(logits_ready[0]), .m_data_o(logits0)
  );
  for (genvar c = 0; c < 10; c++) begin : gen_logits0
    assign logits[0][c*15+:15] = 15'(signed'(logits0[c*13+:13]));
  end
  logic [7:0] pixel1;
  assign pixel1 = pixel_data[1];
  logic [149:0] logits1;
  stage1 u_stage1 (
    .clk_i, .rst_ni(core_rst_n),
    .s_valid_i(pixel_valid[1]), .s_ready_o(pixel_ready[1]), .s_data_i(pixel1),
    .m_valid_o(logits_valid[1]), .m_ready_i(logits_ready[1]), .m_data_o(logits1)
  );
  assign logits[1] = logits1;
endmodule
