/// Which slots of the frame buffer are taken.
///
/// `free_o` and `slot_o` offer the lowest free slot (registers). The slot that is offered may be written to; it is taken
/// at `take_i`, until it is given back. Slots come back in any order, one of
/// every giver in a cycle.
///
/// Interval: 2 cycles a slot: none is offered in the cycle after one was taken, while the next is looked for.
/// Latency:  a slot given back is offered two cycles later at the earliest.
/// Flow:     none; the user never takes while `free_o` is low, never takes a slot that is taken, and never gives back one
///           that is not: assertions watch over that in simulation.
/// Does not: hold on to an offer: a lower slot that comes back is offered instead.
module slot_pool #(
  parameter int unsigned Slots = 8,
  parameter int unsigned Givers = 2,
  localparam int unsigned SlotWidth = $clog2(Slots)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  output logic                 free_o,
  output logic [SlotWidth-1:0] slot_o,
  input  logic                 take_i,
  input  logic [SlotWidth-1:0] take_slot_i,
  input  logic [Givers-1:0]                give_i,
  input  logic [Givers-1:0][SlotWidth-1:0] give_slot_i
);

  if (Slots < 2) begin : gen_slots_check
    $error("slot_pool: Slots must be at least 2, but is %0d", Slots);
  end
  if (Givers < 1) begin : gen_givers_check
    $error("slot_pool: Givers must be at least 1, but is %0d", Givers);
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
      for (int unsigned giver = 0; giver < Givers; giver++) begin
        if (give_i[giver]) begin
          taken_q[give_slot_i[giver]] <= 1'b0;
        end
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
      for (int unsigned giver = 0; giver < Givers; giver++) begin
        assert (!give_i[giver] || taken_q[give_slot_i[giver]])
        else $error("slot_pool: slot %0d is given back at %0d, but is not taken", give_slot_i[giver], giver);
        for (int unsigned other = 0; other < giver; other++) begin
          assert (!give_i[giver] || !give_i[other] || give_slot_i[giver] != give_slot_i[other])
          else $error("slot_pool: slot %0d is given back twice", give_slot_i[giver]);
        end
      end
    end
  end
`endif

endmodule
