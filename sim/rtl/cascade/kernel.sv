/// The cascade around stand-ins for networks, with the ports of a compiled kernel. Is no part of the product.
module kernel #(
  parameter int unsigned Stages = 2,
  parameter int unsigned Pixels = 20,
  parameter int unsigned Channels = 1,
  parameter int unsigned Classes = 4,
  parameter int unsigned FromTrunk = 0,  // bit k: stage k goes on from what the stage before it leaves behind
  parameter int unsigned FeatureDepth = Pixels,  // beats that a gate holds: no more than it must
  parameter bit LogitsInRecord = 1'b0,
  parameter int unsigned LogitBeats = 1,
  parameter int unsigned LogitWidth0 = 8,
  parameter int unsigned LogitWidth1 = 11,
  parameter int unsigned LogitWidth2 = 9,
  parameter int unsigned LogitWidth3 = 14,
  parameter int unsigned Delay0 = 3,
  parameter int unsigned DelayLater = 60,  // of stage 1; the ones behind it take so much longer each
  parameter int unsigned FrameSlots = 4,
  parameter logic [31:0] BuildHash = 32'h5EED5EED,
  parameter logic [31:0] WeightsHash = 32'h5EEDF00D,
  parameter int unsigned WeightsWords = 0,
  // of the widest stage
  localparam int unsigned Wide0 = LogitWidth0,
  localparam int unsigned Wide1 = Stages > 1 && LogitWidth1 > Wide0 ? LogitWidth1 : Wide0,
  localparam int unsigned Wide2 = Stages > 2 && LogitWidth2 > Wide1 ? LogitWidth2 : Wide1,
  localparam int unsigned LogitWidth = Stages > 3 && LogitWidth3 > Wide2 ? LogitWidth3 : Wide2,
  localparam int unsigned LogitsWidth = Classes / LogitBeats * LogitWidth
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic [                   63:0] s_axis_tdata,
  input  logic [                    7:0] s_axis_tkeep,
  input  logic                           s_axis_tvalid,
  output logic                           s_axis_tready,
  input  logic                           s_axis_tlast,
  output logic [                   63:0] m_axis_tdata,
  output logic [                    7:0] m_axis_tkeep,
  output logic                           m_axis_tvalid,
  input  logic                           m_axis_tready,
  output logic                           m_axis_tlast,
  input  logic [                   11:0] s_axil_awaddr,
  input  logic                           s_axil_awvalid,
  output logic                           s_axil_awready,
  input  logic [                   31:0] s_axil_wdata,
  input  logic [                    3:0] s_axil_wstrb,
  input  logic                           s_axil_wvalid,
  output logic                           s_axil_wready,
  output logic [                    1:0] s_axil_bresp,
  output logic                           s_axil_bvalid,
  input  logic                           s_axil_bready,
  input  logic [                   11:0] s_axil_araddr,
  input  logic                           s_axil_arvalid,
  output logic                           s_axil_arready,
  output logic [                   31:0] s_axil_rdata,
  output logic [                    1:0] s_axil_rresp,
  output logic                           s_axil_rvalid,
  input  logic                           s_axil_rready,
  output logic [Stages-1:0]                              tap_valid_o,
  output logic [Stages-1:0][                  31:0]      tap_tag_o,
  output logic [Stages-1:0][   LogitsWidth-1:0]          tap_logits_o
);

  localparam int unsigned StageWidths[4] = '{LogitWidth0, LogitWidth1, LogitWidth2, LogitWidth3};

  logic core_rst_n;
  logic [Stages-1:0] pixel_valid, pixel_ready, logits_valid, logits_ready;
  logic [Stages-1:0][Channels*8-1:0] pixel_data;
  /* verilator lint_off UNUSEDSIGNAL */  // without a stage that begins at features
  logic [Stages-1:0] verdict_valid, verdict_pass;
  weights_pkg::bus_t weights;
  // What a stage takes, pixels or features, and what it leaves behind: the same with every bit turned over.
  logic [Stages-1:0] left_valid, left_ready;
  /* verilator lint_on UNUSEDSIGNAL */
  logic [Stages-1:0] taken_valid, taken_ready, stage_valid, stage_ready;
  logic [Stages-1:0][Channels*8-1:0] taken_data;

  cascade #(
    .Stages     (Stages),
    .Pixels     (Pixels),
    .Channels   (Channels),
    .Classes    (Classes),
    .LogitWidth (LogitWidth),
    .LogitBeats (LogitBeats),
    .LogitsInRecord(LogitsInRecord),
    .FromTrunk  (FromTrunk),
    .FrameSlots (FrameSlots),
    .BuildHash  (BuildHash),
    .WeightsHash(WeightsHash),
    .WeightsWords(WeightsWords)
  ) u_cascade (
    .clk_i,
    .rst_ni,
    .s_axis_tdata,
    .s_axis_tkeep,
    .s_axis_tvalid,
    .s_axis_tready,
    .s_axis_tlast,
    .m_axis_tdata,
    .m_axis_tkeep,
    .m_axis_tvalid,
    .m_axis_tready,
    .m_axis_tlast,
    .s_axil_awaddr,
    .s_axil_awvalid,
    .s_axil_awready,
    .s_axil_wdata,
    .s_axil_wstrb,
    .s_axil_wvalid,
    .s_axil_wready,
    .s_axil_bresp,
    .s_axil_bvalid,
    .s_axil_bready,
    .s_axil_araddr,
    .s_axil_arvalid,
    .s_axil_arready,
    .s_axil_rdata,
    .s_axil_rresp,
    .s_axil_rvalid,
    .s_axil_rready,
    .core_rst_no   (core_rst_n),
    .weights_o     (weights),
    .pixel_valid_o (pixel_valid),
    .pixel_ready_i (pixel_ready),
    .pixel_data_o  (pixel_data),
    .logits_valid_i(logits_valid),
    .logits_ready_o(logits_ready),
    .logits_data_i (tap_logits_o),
    .verdict_valid_o(verdict_valid),
    .verdict_pass_o(verdict_pass),
    .tap_valid_o,
    .tap_tag_o
  );

  for (genvar k = 0; k < Stages; k++) begin : gen_stage
    localparam int unsigned Width = StageWidths[k];
    logic [Classes/LogitBeats*Width-1:0] logits;

    if (k > 0 && FromTrunk[k]) begin : gen_gate
      feature_gate #(
        .Width(Channels * 8),
        .Beats(Pixels),
        .Depth(FeatureDepth)
      ) u_gate (
        .clk_i,
        .rst_ni         (core_rst_n),
        .s_valid_i      (left_valid[k-1]),
        .s_ready_o      (left_ready[k-1]),
        .s_data_i       (~taken_data[k-1]),
        .verdict_valid_i(verdict_valid[k-1]),
        .pass_i         (verdict_pass[k-1]),
        .m_valid_o      (taken_valid[k]),
        .m_ready_i      (taken_ready[k]),
        .m_data_o       (taken_data[k])
      );
      assign pixel_ready[k] = 1'b0;
    end else begin : gen_pixels
      assign taken_valid[k] = pixel_valid[k];
      assign pixel_ready[k] = taken_ready[k];
      assign taken_data[k]  = pixel_data[k];
    end

    // Every beat goes into the stage and, where the next one begins at it, to the gate, in the same cycle.
    if (k + 1 < Stages && FromTrunk[k+1]) begin : gen_fork
      assign taken_ready[k] = stage_ready[k] && left_ready[k];
      assign stage_valid[k] = taken_valid[k] && left_ready[k];
      assign left_valid[k]  = taken_valid[k] && stage_ready[k];
    end else begin : gen_alone
      assign taken_ready[k] = stage_ready[k];
      assign stage_valid[k] = taken_valid[k];
      assign left_valid[k]  = 1'b0;
      assign left_ready[k]  = 1'b0;
    end

    stub_stage #(
      .Pixels    (Pixels),
      .Channels  (Channels),
      .Classes   (Classes),
      .LogitWidth(Width),
      .Beats     (LogitBeats),
      .Delay     (k == 0 ? Delay0 : k * DelayLater),
      .Salt      (32'(k + 1))
    ) u_stage (
      .clk_i,
      .rst_ni   (core_rst_n),
      .s_valid_i(stage_valid[k]),
      .s_ready_o(stage_ready[k]),
      .s_data_i (taken_data[k]),
      .m_valid_o(logits_valid[k]),
      .m_ready_i(logits_ready[k]),
      .m_data_o (logits)
    );

    for (genvar c = 0; c < Classes / LogitBeats; c++) begin : gen_extend
      assign tap_logits_o[k][c*LogitWidth+:LogitWidth] = LogitWidth'(signed'(logits[c*Width+:Width]));
    end
  end

endmodule
