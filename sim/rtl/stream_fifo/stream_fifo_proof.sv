/// What stream_fifo promises, as assertions over all inputs.
///
/// One symbolic beat is followed: `follow_i` picks any one beat as it is taken, so that what holds for it holds for all.
/// Nothing is assumed of the neighbours; reset is low in the first cycle, and whenever it likes after it.
module stream_fifo_proof #(
  parameter int unsigned Width = 8,
  parameter int unsigned Depth = 2,
  // Longest stall, in cycles, under which beats are promised to leave in time.
  parameter int unsigned Stall = 2
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             s_valid_i,
  input logic [Width-1:0] s_data_i,
  input logic             m_ready_i,
  input logic             follow_i
);
  logic s_ready, m_valid;
  logic [Width-1:0] m_data;

  stream_fifo #(
    .Width(Width),
    .Depth(Depth)
  ) u_cell (
    .clk_i,
    .rst_ni,
    .s_valid_i,
    .s_ready_o(s_ready),
    .s_data_i,
    .m_valid_o(m_valid),
    .m_ready_i,
    .m_data_o (m_data)
  );

  logic started, prompt;
  logic [5:0] stall;
  stream_proof #(
    .Width(Width),
    .Stall(Stall)
  ) u_stream (
    .clk_i,
    .rst_ni,
    .valid_i  (m_valid),
    .ready_i  (m_ready_i),
    .data_i   (m_data),
    .started_o(started),
    .stall_o  (stall),
    .prompt_o (prompt),
    .stalls_o ()
  );

  logic push, pop;
  assign push = s_valid_i && s_ready;
  assign pop = m_valid && m_ready_i;

  // ---- No beat lost or doubled ----------------------------------------------------------------------------------
  localparam int unsigned CountWidth = $clog2(Depth + 2) + 1;
  logic [CountWidth-1:0] inside_q;  // beats taken and not given
  always_ff @(posedge clk_i) begin
    if (!rst_ni) inside_q <= '0;
    else inside_q <= inside_q + CountWidth'(push) - CountWidth'(pop);
  end
  always_comb begin
    if (started) begin
      gives_what_it_has: assert (m_valid == (inside_q != '0));
      takes_depth_and_one: assert (s_ready || inside_q == CountWidth'(Depth + 1));
      holds_no_more: assert (inside_q <= CountWidth'(Depth + 1));
    end
  end

  // ---- No beat changed or overtaken -----------------------------------------------------------------------------
  logic followed_q;
  logic [Width-1:0] beat_q;
  logic [CountWidth-1:0] ahead_q;  // beats before it
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      followed_q <= 1'b0;
    end else if (!followed_q) begin
      followed_q <= push && follow_i;
      beat_q <= s_data_i;
      ahead_q <= inside_q - CountWidth'(pop);
    end else if (pop) begin
      ahead_q <= ahead_q - 1'b1;
      followed_q <= ahead_q != '0;
    end
  end
  always_comb begin
    if (started && followed_q) begin
      beat_is_inside: assert (ahead_q < inside_q);
      if (ahead_q == '0) beat_unchanged: assert (m_data == beat_q);
    end
  end

  // ---- Progress: under stalls of at most `Stall` cycles the beat leaves within (Depth + 1) * (Stall + 1) ----------
  localparam int unsigned Bound = (Depth + 1) * (Stall + 1);
  localparam int unsigned AgeWidth = $clog2(Bound + 2);
  logic [AgeWidth-1:0] age_q;
  always_ff @(posedge clk_i) age_q <= followed_q ? age_q + AgeWidth'(age_q != '1) : '0;
  always_comb begin
    if (started && followed_q && prompt) beat_leaves_in_time: assert (age_q < AgeWidth'(Bound));
  end

`ifdef INSIDE
  // ---- What makes it inductive ----------------------------------------------------------------------------------
  localparam int unsigned IndexWidth = Depth > 1 ? $clog2(Depth) : 1;
  logic [31:0] place;  // of the followed beat in the memory
  assign place = 32'(u_cell.read_q) + 32'(ahead_q) - 32'd1;
  always_comb begin
    if (started) begin
      inside_fill: assert (32'(inside_q) == 32'(u_cell.fill_q) + 32'(m_valid));
      inside_read: assert (32'(u_cell.read_q) < Depth && 32'(u_cell.write_q) < Depth);
      inside_write: assert (32'(u_cell.write_q) == (32'(u_cell.read_q) + 32'(u_cell.fill_q)) % Depth);
      if (followed_q && ahead_q != '0) begin
        inside_beat: assert (u_cell.memory_q[IndexWidth'(place >= Depth ? place - Depth : place)] == beat_q);
      end
      if (followed_q && prompt) begin
        inside_age: assert (32'(age_q) + 32'(ahead_q) * (Stall + 1) <= Depth * (Stall + 1) + 32'(stall));
      end
    end
  end
`endif

  always_comb begin
    if (started && followed_q && pop && ahead_q == '0) beat_left: cover (age_q != '0);
  end
endmodule
