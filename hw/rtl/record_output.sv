/// Sends result records on the AXI4-Stream: two beats each, lowest bytes first, TLAST where a batch ends.
///
/// A batch ends with every `batch_i`-th record since the last TLAST (`batch_i` = 0: by flush only), and by a flush
/// (`flush_i`, one cycle): with the record after which nothing is outstanding; if nothing is outstanding and the batch
/// has records, with a closing record (error flush, tag `ClosingTag`) that is added to it; if it has none, nothing
/// happens. Whether a record ends its batch is decided when its second beat is put on the bus: a header accepted in
/// that very cycle is the next batch's, so that no path leads from the input to the output.
/// Outstanding = headers accepted (`header_i`) minus records sent; closing records don't count. There is never a record
/// without its header.
///
/// Interval: 2 cycles a record. Latency: 2 cycles.
/// Flow:     streams; `Depth` records wait inside, then `s_ready_o` falls.
/// Does not: order records: they leave as they came.
module record_output
  import registers_pkg::*;
#(
  parameter int unsigned Depth = 4  // records waiting; rides out short stalls of the receiver
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        s_valid_i,
  output logic                        s_ready_o,
  input  cascade_pkg::record_t        s_record_i,
  input  logic                        header_i,
  input  logic                        flush_i,
  input  logic                 [15:0] batch_i,
  // AXI4-Stream
  output logic                 [63:0] m_axis_tdata_o,
  output logic                 [ 7:0] m_axis_tkeep_o,
  output logic                        m_axis_tvalid_o,
  input  logic                        m_axis_tready_i,
  output logic                        m_axis_tlast_o,
  // state
  output logic                 [15:0] outstanding_o,
  output logic                        flushing_o,
  output logic                        batch_open_o,
  output logic                        idle_o
);

  localparam cascade_pkg::record_t ClosingRecord = '{
      tag: ClosingTag,
      label: '0,
      stage: '0,
      error: ErrorFlush,
      margin: '0,
      cycles: '0
  };

  logic waiting, load, load_second, sent;
  cascade_pkg::record_t waiting_record, record;

  logic valid_q, last_q;
  logic [63:0] data_q;
  logic second_q;  // the next beat to load is a record's second
  logic closing_q;  // the record being sent, or sent last, is a closing one
  logic flush_q;
  logic [15:0] outstanding_q;
  logic none_q, one_q;  // are outstanding; registers, as is the next, so that no comparison is on a long path
  logic [15:0] count_q;  // records since the last TLAST, at most 65535
  logic open_q;  // there are some
  logic start_closing, ends_batch, ends_flush, closing;

  stream_fifo #(
    .Width($bits(cascade_pkg::record_t)),
    .Depth(Depth)
  ) u_waiting (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o,
    .s_data_i (s_record_i),
    .m_valid_o(waiting),
    .m_ready_i(load_second && !closing),
    .m_data_o (waiting_record)
  );

  assign start_closing = flush_q && !second_q && none_q && open_q;
  assign closing       = second_q ? closing_q : start_closing;
  assign record        = closing ? ClosingRecord : waiting_record;
  assign load          = (!valid_q || m_axis_tready_i) && (waiting || closing);
  assign load_second   = load && second_q;

  assign ends_flush    = flush_q && (closing || one_q);
  assign ends_batch    = ends_flush || (batch_i != '0 && 17'(count_q) + 17'd1 >= 17'(batch_i));

  // Loading a second beat decides `closing_q` no more, so it still tells whose second beat is sent.
  assign sent          = valid_q && m_axis_tready_i && !second_q && !closing_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q       <= 1'b0;
      second_q      <= 1'b0;
      closing_q     <= 1'b0;
      flush_q       <= 1'b0;
      outstanding_q <= '0;
      none_q        <= 1'b1;
      one_q         <= 1'b0;
      count_q       <= '0;
      open_q        <= 1'b0;
    end else begin
      if (load) begin
        valid_q  <= 1'b1;
        second_q <= !second_q;
      end else if (m_axis_tready_i) begin
        valid_q <= 1'b0;
      end
      if (load && !second_q) begin
        closing_q <= closing;
      end
      if (load_second) begin
        count_q <= ends_batch ? '0 : count_q + 16'(count_q != '1);
        open_q  <= !ends_batch;
      end
      if (flush_i) begin
        flush_q <= 1'b1;
      end else if ((load_second && ends_flush) || (none_q && !open_q)) begin
        flush_q <= 1'b0;
      end
      if (header_i != sent) begin
        outstanding_q <= header_i ? outstanding_q + 16'd1 : outstanding_q - 16'd1;
        none_q        <= !header_i && one_q;
        one_q         <= outstanding_q == (header_i ? 16'd0 : 16'd2);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (load) begin
      data_q <= second_q ? record[127:64] : record[63:0];
      last_q <= second_q && ends_batch;
    end
  end

  assign m_axis_tdata_o  = data_q;
  assign m_axis_tkeep_o  = '1;
  assign m_axis_tvalid_o = valid_q;
  assign m_axis_tlast_o  = last_q;
  assign outstanding_o   = outstanding_q;
  assign flushing_o      = flush_q;
  assign batch_open_o    = open_q;
  assign idle_o          = none_q && !flush_q && !valid_q && !second_q;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!(sent && none_q))
      else $error("record_output: a record was sent, but no header is outstanding");
    end
  end
`endif

endmodule
