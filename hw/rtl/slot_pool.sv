/// Which slots of the frame buffer are taken.
///
/// `free_o` and `slot_o` offer the lowest free slot (registers). The slot that is offered may be written to; it is taken
/// at `take_i`, until it is given back. Slots come back in any order, two in a cycle.
///
/// Interval: 2 cycles a slot: none is offered in the cycle after one was taken, while the next is looked for.
/// Latency:  a slot given back is offered two cycles later at the earliest.
/// Flow:     none; the user never takes while `free_o` is low, never takes a slot that is taken, and never gives back one
///           that is not: assertions watch over that in simulation.
/// Does not: hold on to an offer: a lower slot that comes back is offered instead.
module slot_pool #(
  parameter int unsigned Slots = 8,
  localparam int unsigned SlotWidth = $clog2(Slots)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  output logic                 free_o,
  output logic [SlotWidth-1:0] slot_o,
  input  logic                 take_i,
  input  logic [SlotWidth-1:0] take_slot_i,
  input  logic                 give0_i,
  input  logic [SlotWidth-1:0] give0_slot_i,
  input  logic                 give1_i,
  input  logic [SlotWidth-1:0] give1_slot_i
);

  if (Slots < 2) begin : gen_slots_check
    $error("slot_pool: Slots must be at least 2, but is %0d", Slots);
  end

  logic [Slots-1:0] taken_q;
  logic free_q;
  logic [SlotWidth-1:0] lowest, slot_q;

  always_comb begin
    lowest = '0;
    for (int unsigned s = Slots; s > 0; s--) begin
      if (!taken_q[s-1]) begin
        lowest = SlotWidth'(s - 1);
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      taken_q <= '0;
      free_q  <= 1'b0;
    end else begin
      free_q <= !(&taken_q) && !take_i;
      if (take_i) begin
        taken_q[take_slot_i] <= 1'b1;
      end
      if (give0_i) begin
        taken_q[give0_slot_i] <= 1'b0;
      end
      if (give1_i) begin
        taken_q[give1_slot_i] <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    slot_q <= lowest;
  end

  assign free_o = free_q;
  assign slot_o = slot_q;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!take_i || (free_q && !taken_q[take_slot_i]))
      else $error("slot_pool: slot %0d is taken, but is not free", take_slot_i);
      assert (!give0_i || taken_q[give0_slot_i])
      else $error("slot_pool: slot %0d is given back at 0, but is not taken", give0_slot_i);
      assert (!give1_i || taken_q[give1_slot_i])
      else $error("slot_pool: slot %0d is given back at 1, but is not taken", give1_slot_i);
      assert (!give0_i || !give1_i || give0_slot_i != give1_slot_i)
      else $error("slot_pool: slot %0d is given back twice", give0_slot_i);
    end
  end
`endif

endmodule
