/// The register map (hw/REGISTERS.md) on AXI4-Lite, and the threshold table.
///
/// Byte strobes are honoured. An address without a register reads 0 and takes writes without effect; every response is
/// OKAY, because an error response stops a processor. `soft_reset_o` and `flush_o` are commands of one cycle. `faults_i`
/// sets sticky bits, and wins over a write that clears them. Outlives a soft reset: only `rst_ni` resets it.
///
/// Where weights are loaded at run time (WeightsWords > 0) there are two threshold tables, one for each bank of weights:
/// frames see that of the bank in use, the bus that of the other bank while a load is under way, else the same.
///
/// Latency:  a write's answer follows one cycle later, a read's three; `thresholds_o` shows the row `set_i` at once.
/// Flow:     one access a direction at a time: a write is taken when address and data are both there, a read when no
///           answer is under way, and neither for 17 cycles behind a reset or the begin of a load. A word of weights waits
///           until the loader has room for it; commands to the loader and a look at its status wait until it has dealt
///           with the word before.
/// Does not: check a value that is written, or tell an access without effect.
module axil_registers
  import registers_pkg::*;
#(
  parameter int unsigned Stages = 2,  // shown to the host, as are the next five
  parameter int unsigned RecordBeats = 2,
  parameter int unsigned Pixels = 784,
  parameter int unsigned Channels = 1,
  parameter int unsigned Classes = 10,
  parameter int unsigned FrameSlots = 8,
  parameter logic [31:0] BuildHash = 32'h0,  // ties the hardware's structure to its kernel package
  parameter int unsigned WeightsWords = 0  // words of the image of weights that are loaded at run time; 0: none are
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  // AXI4-Lite
  /* verilator lint_off UNUSEDSIGNAL */  // registers are aligned
  input  logic                   [11:0] s_axil_awaddr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                          s_axil_awvalid_i,
  output logic                          s_axil_awready_o,
  input  logic                   [31:0] s_axil_wdata_i,
  input  logic                   [ 3:0] s_axil_wstrb_i,
  input  logic                          s_axil_wvalid_i,
  output logic                          s_axil_wready_o,
  output logic                   [ 1:0] s_axil_bresp_o,
  output logic                          s_axil_bvalid_o,
  input  logic                          s_axil_bready_i,
  /* verilator lint_off UNUSEDSIGNAL */  // registers are aligned
  input  logic                   [11:0] s_axil_araddr_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                          s_axil_arvalid_i,
  output logic                          s_axil_arready_o,
  output logic                   [31:0] s_axil_rdata_o,
  output logic                   [ 1:0] s_axil_rresp_o,
  output logic                          s_axil_rvalid_o,
  input  logic                          s_axil_rready_i,
  // the cascade
  input  logic                   [ 3:0] set_i,
  output logic [cascade_pkg::MaxStages-1:0][31:0] thresholds_o,
  output logic                   [15:0] batch_o,
  output logic                          soft_reset_o,
  output logic                          flush_o,
  // weights at run time
  output logic                          weights_begin_o,
  output logic                          weights_cancel_o,
  output logic                          weights_swap_o,
  output logic                          weights_valid_o,
  input  logic                          weights_ready_i,
  output logic                   [31:0] weights_word_o,
  output logic                   [31:0] weights_crc_o,
  output logic                   [31:0] weights_new_hash_o,
  input  weights_pkg::status_t          weights_status_i,
  input  logic                   [31:0] weights_taken_i,
  input  logic                   [31:0] weights_hash_i,  // of those in use
  input  logic                   [ 7:0] faults_i,
  input  cascade_pkg::status_t          status_i,
  input  cascade_pkg::counters_t        counters_i
);

  logic [cascade_pkg::MaxStages-1:0][31:0] row, row_q;  // of the threshold table, at `read_addr_q`
  localparam logic [cascade_pkg::MaxStages-1:0][11:0] ThresholdBases = {
    RegThreshold3, RegThreshold2, RegThreshold1, RegThreshold0
  };
  logic [15:0] batch_q;
  logic [7:0] faults_q;
  logic soft_reset_q, flush_q;
  logic weights_begin_q, weights_cancel_q, weights_swap_q;
  logic [31:0] weights_crc_q, weights_new_hash_q;
  logic bvalid_q, rvalid_q, reading_q, picking_q;
  logic filling_q;  // a table of thresholds
  logic [31:0] plain_q, rdata_q;
  logic write, read;
  logic [11:0] write_addr, read_addr, read_addr_q;
  logic [31:0] mask;

  assign write      = s_axil_awvalid_i && s_axil_wvalid_i && !bvalid_q && !filling_q
      && (weights_ready_i || (write_addr != RegWeightsData && write_addr != RegWeightsControl));
  assign read       = s_axil_arvalid_i && !rvalid_q && !reading_q && !picking_q && !filling_q && !weights_begin_q
      && (weights_ready_i || read_addr != RegWeightsStatus);
  assign write_addr = {s_axil_awaddr_i[11:2], 2'b00};
  assign read_addr  = {s_axil_araddr_i[11:2], 2'b00};
  assign mask       = {{8{s_axil_wstrb_i[3]}}, {8{s_axil_wstrb_i[2]}}, {8{s_axil_wstrb_i[1]}}, {8{s_axil_wstrb_i[0]}}};

  assign s_axil_awready_o = write;
  assign s_axil_wready_o  = write;
  assign s_axil_bresp_o   = 2'b00;
  assign s_axil_bvalid_o  = bvalid_q;
  assign s_axil_arready_o = read;
  assign s_axil_rdata_o   = rdata_q;
  assign s_axil_rresp_o   = 2'b00;
  assign s_axil_rvalid_o  = rvalid_q;

  assign batch_o          = batch_q;
  assign soft_reset_o     = soft_reset_q;
  assign flush_o          = flush_q;

  assign weights_begin_o  = weights_begin_q;
  assign weights_cancel_o = weights_cancel_q;
  assign weights_swap_o   = weights_swap_q;
  assign weights_valid_o  = write && write_addr == RegWeightsData;
  assign weights_word_o   = s_axil_wdata_i;
  assign weights_crc_o    = weights_crc_q;
  assign weights_new_hash_o = weights_new_hash_q;

  function automatic logic [31:0] merge(input logic [31:0] old, input logic [31:0] data, input logic [31:0] strobes);
    return (old & ~strobes) | (data & strobes);
  endfunction

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      bvalid_q     <= 1'b0;
      batch_q      <= 16'd1;
      soft_reset_q <= 1'b0;
      flush_q      <= 1'b0;
      faults_q     <= '0;
      weights_begin_q    <= 1'b0;
      weights_cancel_q   <= 1'b0;
      weights_swap_q     <= 1'b0;
      weights_crc_q      <= '0;
      weights_new_hash_q <= '0;
    end else begin
      soft_reset_q <= 1'b0;
      flush_q      <= 1'b0;
      faults_q     <= faults_q | faults_i;
      weights_begin_q  <= 1'b0;
      weights_cancel_q <= 1'b0;
      weights_swap_q   <= 1'b0;
      if (s_axil_bready_i) begin
        bvalid_q <= 1'b0;
      end
      if (write) begin
        bvalid_q <= 1'b1;
        if (write_addr == RegControl) begin
          soft_reset_q <= s_axil_wdata_i[ControlSoftResetBit] && mask[ControlSoftResetBit];
          flush_q      <= s_axil_wdata_i[ControlFlushBit] && mask[ControlFlushBit];
        end else if (write_addr == RegBatch) begin
          batch_q <= 16'(merge(32'(batch_q), s_axil_wdata_i, mask));
        end else if (write_addr == RegFaults) begin
          faults_q <= (faults_q & ~8'(s_axil_wdata_i & mask)) | faults_i;
        end else if (WeightsWords > 0 && write_addr == RegWeightsControl) begin
          weights_begin_q  <= s_axil_wdata_i[WeightsControlBeginBit] && mask[WeightsControlBeginBit];
          weights_cancel_q <= s_axil_wdata_i[WeightsControlCancelBit] && mask[WeightsControlCancelBit];
          weights_swap_q   <= s_axil_wdata_i[WeightsControlSwapBit] && mask[WeightsControlSwapBit];
        end else if (WeightsWords > 0 && write_addr == RegWeightsCrc) begin
          weights_crc_q <= merge(weights_crc_q, s_axil_wdata_i, mask);
        end else if (WeightsWords > 0 && write_addr == RegWeightsNewHash) begin
          weights_new_hash_q <= merge(weights_new_hash_q, s_axil_wdata_i, mask);
        end
      end
    end
  end

  // The threshold table: a distributed memory for every byte lane. Such memories have no reset, so a table is filled with
  // `ThresholdNever` row by row: the first one behind a reset, that of the bank to come when its load begins. The bus waits
  // meanwhile, and frames of a table that is being filled see it as filled.
  localparam int unsigned Rows = WeightsWords > 0 ? 2 * ThresholdSets : 32'(ThresholdSets);
  localparam int unsigned RowWidth = $clog2(Rows);
  logic table_of_bus, fill_table_q;
  logic [3:0] fill_set_q;
  logic [RowWidth-1:0] write_row, read_row, frame_row;
  assign table_of_bus = weights_status_i.bank ^ weights_status_i.loading;
  assign write_row    = RowWidth'(filling_q ? {fill_table_q, fill_set_q} : {table_of_bus, write_addr[5:2]});
  assign read_row     = RowWidth'({table_of_bus, read_addr_q[5:2]});
  assign frame_row    = RowWidth'({weights_status_i.bank, set_i});

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      filling_q    <= 1'b1;
      fill_table_q <= 1'b0;  // that of bank 0, which is in use after a reset
      fill_set_q   <= '0;
    end else if (filling_q) begin
      filling_q  <= fill_set_q != '1;
      fill_set_q <= fill_set_q + 1'b1;
    end else if (WeightsWords > 0 && weights_begin_q && !weights_status_i.swapping) begin
      filling_q    <= 1'b1;
      fill_table_q <= !weights_status_i.bank;
    end
  end

  for (genvar stage = 0; stage < cascade_pkg::MaxStages; stage++) begin : gen_stage
    if (stage >= Stages) begin : gen_absent
      assign thresholds_o[stage] = ThresholdNever;
      assign row[stage]          = ThresholdNever;
    end else begin : gen_present
      localparam logic [11:0] Base = ThresholdBases[stage];
      logic [31:0] of_frame;
      for (genvar lane = 0; lane < 4; lane++) begin : gen_lane
        logic [7:0] bytes[Rows];

        always_ff @(posedge clk_i) begin
          if (filling_q || (write && write_addr[11:6] == Base[11:6] && s_axil_wstrb_i[lane])) begin
            bytes[write_row] <= filling_q ? ThresholdNever[lane*8+:8] : s_axil_wdata_i[lane*8+:8];
          end
        end

        assign of_frame[lane*8+:8]   = bytes[frame_row];
        assign row[stage][lane*8+:8] = bytes[read_row];
      end
      assign thresholds_o[stage] = filling_q && fill_table_q == weights_status_i.bank ? ThresholdNever : of_frame;
    end
  end

  // A read looks at the plain registers and at the threshold table in one cycle, and picks one of the two in the next.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rvalid_q  <= 1'b0;
      reading_q <= 1'b0;
      picking_q <= 1'b0;
    end else begin
      reading_q <= read;
      picking_q <= reading_q;
      if (picking_q) begin
        rvalid_q <= 1'b1;
      end else if (s_axil_rready_i) begin
        rvalid_q <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (read) begin
      read_addr_q <= read_addr;
    end
    if (reading_q) begin
      unique case (read_addr_q)
        RegId:                plain_q <= KernelId;
        RegVersion:           plain_q <= InterfaceVersion;
        RegBuildHash:         plain_q <= BuildHash;
        RegWeightsHash:       plain_q <= weights_hash_i;
        RegStatus: begin
          plain_q                                                  <= '0;
          plain_q[StatusDrainingBit]                               <= status_i.draining;
          plain_q[StatusReceivingBit]                              <= status_i.receiving;
          plain_q[StatusBatchOpenBit]                              <= status_i.batch_open;
          plain_q[StatusFlushingBit]                               <= status_i.flushing;
          plain_q[StatusOutstandingBit+:StatusOutstandingWidth]    <= status_i.outstanding;
        end
        RegBatch:             plain_q <= 32'(batch_q);
        RegFaults:            plain_q <= 32'(faults_q);
        RegClasses:           plain_q <= Classes;
        RegPixels:            plain_q <= Pixels;
        RegChannels:          plain_q <= Channels;
        RegFrameSlots:        plain_q <= FrameSlots;
        RegStages:            plain_q <= Stages;
        RegRecordBeats:       plain_q <= RecordBeats;
        RegFrames:            plain_q <= counters_i.frames;
        RegAnsweredStage0:    plain_q <= counters_i.answered[0];
        RegAnsweredStage1:    plain_q <= counters_i.answered[1];
        RegOffloaded:         plain_q <= counters_i.offloaded;
        RegErrors:            plain_q <= counters_i.errors;
        RegBadHeaders:        plain_q <= counters_i.bad_headers;
        RegInputStallCycles:  plain_q <= counters_i.input_stall_cycles;
        RegOutputStallCycles: plain_q <= counters_i.output_stall_cycles;
        RegLastCycles:        plain_q <= counters_i.last_cycles;
        RegInterval0:         plain_q <= counters_i.interval[0];
        RegInterval1:         plain_q <= counters_i.interval[1];
        RegInterval2:         plain_q <= counters_i.interval[2];
        RegInterval3:         plain_q <= counters_i.interval[3];
        RegAnsweredStage2:    plain_q <= counters_i.answered[2];
        RegAnsweredStage3:    plain_q <= counters_i.answered[3];
        RegWeightsCrc:        plain_q <= weights_crc_q;
        RegWeightsNewHash:    plain_q <= weights_new_hash_q;
        RegWeightsStatus: begin
          plain_q                           <= '0;
          plain_q[WeightsStatusLoadingBit]  <= weights_status_i.loading;
          plain_q[WeightsStatusReadyBit]    <= weights_status_i.ready;
          plain_q[WeightsStatusDamagedBit]  <= weights_status_i.damaged;
          plain_q[WeightsStatusSwappingBit] <= weights_status_i.swapping;
          plain_q[WeightsStatusRefusedBit]  <= weights_status_i.refused;
          plain_q[WeightsStatusBankBit]     <= weights_status_i.bank;
        end
        RegWeightsWords:      plain_q <= WeightsWords;
        RegWeightsTaken:      plain_q <= weights_taken_i;
        default:              plain_q <= '0;
      endcase
      row_q <= row;
    end
    if (picking_q) begin
      rdata_q <= plain_q;
      for (int unsigned stage = 0; stage < cascade_pkg::MaxStages; stage++) begin
        if (read_addr_q[11:6] == ThresholdBases[stage][11:6]) begin
          rdata_q <= row_q[stage];
        end
      end
    end
  end

endmodule
