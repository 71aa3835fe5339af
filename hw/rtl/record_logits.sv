/// Adds a frame's logits to its record: the kernel of a network alone says all of them.
///
/// Takes records of two beats from record_output and the logits of the frames that were answered, one a cycle, as signed
/// integers; sends every record with ceil(Classes / 2) beats more: two logits of 32 bits a beat, the first in the lower
/// half, a half that is left over 0. Records with an error, closing ones too, have 0 there, so that all records are of one
/// length. TLAST moves to the record's last beat.
///
/// Interval: 2 + ceil(Classes / 2) cycles a record, or Classes cycles, whichever is more.
/// Flow:     streams. Logits wait in a block memory for their record, those of two frames: a frame's record must not wait
///           for logits of a frame behind the next one.
/// Does not: hold a record until its logits are there: they come before it, since the record is made of all of them.
module record_logits #(
  parameter int unsigned Classes = 10,  // logits of a frame
  parameter int unsigned Width = 16  // bits of a logit, at most 32
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  // logits, in the order of their frames
  input  logic             logit_valid_i,
  output logic             logit_ready_o,
  input  logic [Width-1:0] logit_data_i,
  input  logic             logit_last_i,  // of its frame
  // records of two beats
  input  logic [     63:0] s_axis_tdata_i,
  input  logic             s_axis_tvalid_i,
  output logic             s_axis_tready_o,
  input  logic             s_axis_tlast_i,
  // records with logits
  output logic [     63:0] m_axis_tdata_o,
  output logic             m_axis_tvalid_o,
  input  logic             m_axis_tready_i,
  output logic             m_axis_tlast_o,
  output logic             idle_o,  // no record is half out
  output logic             owed_o  // a frame's record is, which record_output has sent
);

  if (Width < 1 || Width > 32) begin : gen_width_check
    $error("record_logits: Width must be 1 to 32, but is %0d", Width);
  end
  if (Classes < 1) begin : gen_classes_check
    $error("record_logits: Classes must be at least 1, but is %0d", Classes);
  end

  localparam int unsigned Words = (Classes + 1) / 2;
  localparam int unsigned Beats = 2 + Words;
  localparam int unsigned CountWidth = $clog2(Beats);

  // ---- Two logits a word ------------------------------------------------------------------------------------------
  logic [31:0] logit, lower_q;
  logic half_q;  // `lower_q` waits for its other half
  logic word_valid, word_ready, word_out_valid, word_out_ready;
  logic [63:0] word, word_out;

  assign logit         = 32'(signed'(logit_data_i));
  assign word_valid    = logit_valid_i && (half_q || logit_last_i);
  assign word          = half_q ? {logit, lower_q} : {32'd0, logit};
  assign logit_ready_o = word_ready;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      half_q <= 1'b0;
    end else if (logit_valid_i && logit_ready_o) begin
      half_q <= !half_q && !logit_last_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (logit_valid_i && logit_ready_o) begin
      lower_q <= logit;
    end
  end

  block_fifo #(
    .Width(64),
    .Depth(2 * Words)
  ) u_words (
    .clk_i,
    .rst_ni,
    .s_valid_i(word_valid),
    .s_ready_o(word_ready),
    .s_data_i (word),
    .m_valid_o(word_out_valid),
    .m_ready_i(word_out_ready),
    .m_data_o (word_out)
  );

  // ---- Behind the two beats of a record ---------------------------------------------------------------------------
  logic [CountWidth-1:0] at_q;  // beat of the record
  logic answer_q, closing_q, last_q;  // the record has logits, belongs to no frame, ends its batch
  logic own, sent, final_beat;

  assign own             = at_q < CountWidth'(2);  // a beat of record_output's
  assign final_beat      = at_q == CountWidth'(Beats - 1);
  assign m_axis_tvalid_o = own ? s_axis_tvalid_i : !answer_q || word_out_valid;
  assign m_axis_tdata_o  = own ? s_axis_tdata_i : answer_q ? word_out : '0;
  assign m_axis_tlast_o  = final_beat && last_q;
  assign s_axis_tready_o = own && m_axis_tready_i;
  assign word_out_ready  = !own && answer_q && m_axis_tready_i;
  assign sent            = m_axis_tvalid_o && m_axis_tready_i;
  assign idle_o          = at_q == '0;
  assign owed_o          = !own && !closing_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      at_q <= '0;
    end else if (sent) begin
      at_q <= final_beat ? '0 : at_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (sent && at_q == '0) begin
      answer_q  <= s_axis_tdata_i[63:56] == registers_pkg::ErrorNone;
      closing_q <= s_axis_tdata_i[63:56] == registers_pkg::ErrorFlush;
    end
    if (sent && at_q == CountWidth'(1)) begin
      last_q <= s_axis_tlast_i;
    end
  end

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (own || !answer_q || word_out_valid)
      else $error("record_logits: a record goes out before its logits are there");
    end
  end
`endif

endmodule
