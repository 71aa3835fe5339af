/// The winning class of a vector of logits, and by how much it wins: what a cascade's exit decides on.
///
/// Formula:  label = the lowest index of the largest logit; margin = largest - second largest, 0 where the largest is
///           there twice, or is the only one.
/// Interval: Classes cycles. Latency: 3 cycles from the cycle that takes the beat (the last class's) to the answer.
/// Flow:     one class a cycle is read out of the waiting beat, which is taken with its last class; where `Serial`, a beat
///           is one logit. `s_last_o` tells that the logit at hand is a vector's last. `s_ready_o` comes from
///           registers alone. The output is registered and stays while stalled.
/// Does not: scale or normalise: logits and margin share their unit.
module margin #(
  // Number of logits.
  parameter int unsigned Classes = 10,
  // Bits a logit, two's complement.
  parameter int unsigned Width = 16,
  parameter bit Serial = 1'b0,
  localparam int unsigned BeatWidth = Serial ? Width : Classes * Width,
  localparam int unsigned LabelWidth = Classes > 1 ? $clog2(Classes) : 1
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic                     s_valid_i,
  output logic                     s_ready_o,
  input  logic [BeatWidth-1:0]     s_data_i,
  output logic                     s_last_o,
  output logic                     m_valid_o,
  input  logic                     m_ready_i,
  output logic [LabelWidth-1:0]    m_label_o,
  // Unsigned; one bit more than a logit, since the difference of two can be that large.
  output logic [Width:0]           m_margin_o
);
  if (Classes < 1) begin : g_check1
    $error("margin: Classes must be at least 1, but is %0d", Classes);
  end
  if (Width < 1) begin : g_check2
    $error("margin: Width must be at least 1, but is %0d", Width);
  end

  localparam bit Single = Classes == 1;
  localparam logic signed [Width-1:0] Lowest = {1'b1, {(Width > 0 ? Width - 1 : 0) {1'b0}}};

  logic [LabelWidth-1:0] class_q, label_q;
  logic signed [Width-1:0] best_q, second_q;
  logic done_q;  // best, second and label are those of a whole vector

  // The logit at hand, picked a cycle before it is compared.
  logic signed [Width-1:0] logit_q;
  logic [LabelWidth-1:0] index_q;
  logic picked_q, first_q, last_q;
  logic advance;
  logic at_last_q;  // `class_q` is the last one; a register, so that no comparison is on the path of the ready signal
  logic [Width-1:0] logit;
  if (Serial) begin : gen_serial
    assign logit = s_data_i;
  end else begin : gen_parallel
    assign logit = s_data_i[32'(class_q)*Width+:Width];
  end
  assign advance = !(done_q && m_valid_o);
  assign s_ready_o = advance && (Serial || at_last_q);
  assign s_last_o = at_last_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      class_q <= '0;
      at_last_q <= Single;
      picked_q <= 1'b0;
      done_q <= 1'b0;
      m_valid_o <= 1'b0;
    end else begin
      if (!m_valid_o || m_ready_i) begin
        m_valid_o <= done_q;
        done_q <= 1'b0;
      end
      if (advance) begin
        if (s_valid_i) begin
          class_q <= at_last_q ? '0 : class_q + 1'b1;
          at_last_q <= Single || class_q == LabelWidth'(Classes - 2);
        end
        picked_q <= s_valid_i;
        if (picked_q) done_q <= last_q;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (advance) begin
      logit_q <= signed'(logit);
      index_q <= class_q;
      first_q <= class_q == '0;
      last_q <= at_last_q;
    end
    if (advance && picked_q) begin
      if (first_q) begin
        best_q <= logit_q;
        second_q <= Single ? logit_q : Lowest;
        label_q <= '0;
      end else if (logit_q > best_q) begin
        best_q <= logit_q;
        second_q <= best_q;
        label_q <= index_q;
      end else if (logit_q > second_q) begin
        second_q <= logit_q;
      end
    end
    if (done_q && (!m_valid_o || m_ready_i)) begin
      m_label_o <= label_q;
      m_margin_o <= {best_q[Width-1], best_q} - {second_q[Width-1], second_q};
    end
  end
endmodule
