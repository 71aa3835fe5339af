/// Resets the kernel's datapath and its stages, at once or when what is outstanding has been sent.
///
/// `ask_i` (one cycle) asks for a reset: `draining_o` rises, in which no new beat may be accepted; with `idle_i` the
/// reset comes, and lasts `Cycles` cycles. Asked again while it drains, it comes at once. `due_o` is high in the cycle before.
///
/// Latency:  `core_rst_no` follows `rst_ni` and `due_o` one cycle later.
/// Flow:     none.
/// Does not: end by itself while the kernel is not idle: a stage that hangs wants asking twice.
module soft_reset #(
  parameter int unsigned Cycles = 4  // long enough for a stage that registers its reset
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic ask_i,
  input  logic idle_i,
  output logic due_o,
  output logic draining_o,
  output logic core_rst_no
);

  if (Cycles < 1) begin : gen_cycles_check
    $error("soft_reset: Cycles must be at least 1, but is %0d", Cycles);
  end

  localparam int unsigned LeftWidth = $clog2(Cycles + 1);

  logic [LeftWidth-1:0] left_q;

  assign due_o = draining_o && left_q == '0 && (idle_i || ask_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      draining_o  <= 1'b0;
      left_q      <= '0;
      core_rst_no <= 1'b0;
    end else begin
      core_rst_no <= !(due_o || left_q > LeftWidth'(1));
      if (due_o) begin
        left_q <= LeftWidth'(Cycles);
      end else if (left_q != '0) begin
        left_q <= left_q - 1'b1;
      end
      if (left_q == LeftWidth'(1)) begin
        draining_o <= 1'b0;
      end else if (ask_i) begin
        draining_o <= 1'b1;
      end
    end
  end

endmodule
