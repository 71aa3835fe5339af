/// Collects the groups in which a folded unit computes a vector, and gives the vector.
///
/// Formula:  the groups that arrive, in the order 0 to Groups - 1 again and again, side by side, group 0 lowest.
/// Interval: Groups cycles a vector.
/// Latency:  1 cycle from a vector's last group.
/// Flow:     one vector waits in the output register and one behind it; with that, `pending_o` rises, and the unit must
///           stand still until it falls. It comes from a register.
/// Does not: order groups, or count them: the last one's number ends the vector.
module group_collector #(
  // Groups of a vector, and bits of a group.
  parameter int unsigned Groups = 2,
  parameter int unsigned Width = 8,
  localparam int unsigned GroupWidth = Groups > 1 ? $clog2(Groups) : 1
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    arrives_i,
  input  logic [GroupWidth-1:0]   group_i,
  input  logic [Width-1:0]        group_data_i,
  output logic                    pending_o,
  output logic                    m_valid_o,
  input  logic                    m_ready_i,
  output logic [Groups*Width-1:0] m_data_o
);
  if (Groups < 1 || Width < 1) begin : g_check
    $error("group_collector: Groups and Width must be at least 1, but are %0d and %0d", Groups, Width);
  end

  logic [Width-1:0] groups_q [Groups];
  logic done, free;
  assign done = arrives_i && group_i == GroupWidth'(Groups - 1);
  assign free = !m_valid_o || m_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      m_valid_o <= 1'b0;
      pending_o <= 1'b0;
    end else begin
      if (free) m_valid_o <= pending_o || done;
      pending_o <= (pending_o || done) && !free;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!pending_o && arrives_i) groups_q[group_i] <= group_data_i;
  end

  for (genvar g = 0; g < Groups; g++) begin : g_group
    always_ff @(posedge clk_i) begin
      if (free && (pending_o || done)) begin
        if (g + 1 < Groups) m_data_o[g*Width+:Width] <= groups_q[g];
        else m_data_o[g*Width+:Width] <= pending_o ? groups_q[g] : group_data_i;
      end
    end
  end
endmodule
