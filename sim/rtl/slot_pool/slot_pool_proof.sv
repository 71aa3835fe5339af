/// What slot_pool promises, as assertions over all inputs that its contract allows.
///
/// Assumed of the user, as the contract says: it takes a slot only while one is offered, and only one that is free; it
/// gives back only what it took, and no slot twice in a cycle. One symbolic slot is followed: `follow_slot_i` of the
/// first cycle. Reset is low in the first cycle, and whenever it likes after it.
module slot_pool_proof #(
  parameter int unsigned Slots = 4,
  localparam int unsigned SlotWidth = $clog2(Slots)
) (
  input logic                 clk_i,
  input logic                 rst_ni,
  input logic                 take_i,
  input logic [SlotWidth-1:0] take_slot_i,
  input logic [1:0]                give_i,
  input logic [1:0][SlotWidth-1:0] give_slot_i,
  input logic [SlotWidth-1:0] follow_slot_i
);
  logic free;
  logic [SlotWidth-1:0] slot;

  slot_pool #(
    .Slots(Slots)
  ) u_cell (
    .clk_i,
    .rst_ni,
    .free_o(free),
    .slot_o(slot),
    .take_i,
    .take_slot_i,
    .give_i,
    .give_slot_i
  );

  logic started_q = 1'b0;
  logic [SlotWidth-1:0] followed_q;
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    if (!started_q) followed_q <= follow_slot_i;
  end
  always_comb assume (started_q || !rst_ni);
  always_comb assume (32'(follow_slot_i) < Slots);

  // ---- The user: which slots it has -----------------------------------------------------------------------------
  logic [Slots-1:0] had_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      had_q <= '0;
    end else begin
      if (take_i) had_q[take_slot_i] <= 1'b1;
      if (give_i[0]) had_q[give_slot_i[0]] <= 1'b0;
      if (give_i[1]) had_q[give_slot_i[1]] <= 1'b0;
    end
  end
  always_comb begin
    if (started_q) begin
      assume (!take_i || (free && 32'(take_slot_i) < Slots && !had_q[take_slot_i]));
      assume (!give_i[0] || (32'(give_slot_i[0]) < Slots && had_q[give_slot_i[0]]));
      assume (!give_i[1] || (32'(give_slot_i[1]) < Slots && had_q[give_slot_i[1]]));
      assume (!give_i[0] || !give_i[1] || give_slot_i[0] != give_slot_i[1]);
    end
  end

  // ---- What was true a cycle ago --------------------------------------------------------------------------------
  logic ran_q, took_q, gave_q;  // `gave_q`: the followed slot
  logic [Slots-1:0] before_q;
  always_ff @(posedge clk_i) begin
    ran_q <= rst_ni && started_q;
    took_q <= take_i;
    gave_q <= rst_ni && started_q
        && ((give_i[0] && give_slot_i[0] == followed_q) || (give_i[1] && give_slot_i[1] == followed_q));
    before_q <= had_q;
  end

  // ---- No slot is offered that is taken; the lowest one is; none is lost ----------------------------------------
  logic [Slots-1:0] below;  // slots below the followed one
  assign below = (Slots'(1) << followed_q) - 1'b1;
  always_comb begin
    if (started_q) begin
      if (free) offered_exists: assert (32'(slot) < Slots);
      if (free && had_q[followed_q]) taken_is_not_offered: assert (slot != followed_q);
      if (ran_q) begin
        if (free && slot == followed_q) lowest_is_offered: assert ((before_q & below) == below);
        // Progress: a free slot is offered in the next cycle, unless one was taken in this one.
        offers_in_time: assert (free == (!took_q && before_q != '1));
        if (!took_q && !before_q[followed_q] && (before_q & below) == below) begin
          slot_comes_in_time: assert (free && slot == followed_q);
        end
        if (gave_q) given_waits_a_cycle: assert (!free || slot != followed_q);
      end else begin
        nothing_after_reset: assert (!free);
      end
    end
  end

`ifdef INSIDE
  // ---- What makes it inductive ----------------------------------------------------------------------------------
  always_comb begin
    if (started_q) begin
      inside_taken: assert (u_cell.taken_q == had_q);
      inside_followed: assert (32'(followed_q) < Slots);
      if (free) inside_offer: assert (32'(slot) < Slots && !had_q[slot]);
    end
  end
`endif

  logic gone_q;  // the followed slot was taken, given back and offered again
  always_ff @(posedge clk_i) begin
    if (!rst_ni) gone_q <= 1'b0;
    else if (gave_q) gone_q <= 1'b1;
  end
  always_comb if (started_q && gone_q && free && slot == followed_q) slot_returned: cover (1'b1);
endmodule
