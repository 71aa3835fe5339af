// A product of few bits as a tree of adders over rows, one for each bit of its narrower factor.
//
// Yosys would compress all of its rows at once, by full adders of two look-up tables a bit. A carry chain takes one, and
// the gates that make a row go into it afterwards (absorption.py). An unsigned factor comes as a signed one with a zero in
// front, which costs nothing here.
(* techmap_celltype = "$mul" *)
module edgesight_product (A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  parameter _TECHMAP_CONSTMSK_A_ = 0;
  parameter _TECHMAP_CONSTVAL_A_ = 0;
  parameter _TECHMAP_CONSTMSK_B_ = 0;
  parameter _TECHMAP_CONSTVAL_B_ = 0;
  (* force_downto *) input [A_WIDTH-1:0] A;
  (* force_downto *) input [B_WIDTH-1:0] B;
  (* force_downto *) output [Y_WIDTH-1:0] Y;

  localparam [0:0] AZero = A_SIGNED && _TECHMAP_CONSTMSK_A_[A_WIDTH-1] && !_TECHMAP_CONSTVAL_A_[A_WIDTH-1];
  localparam [0:0] BZero = B_SIGNED && _TECHMAP_CONSTMSK_B_[B_WIDTH-1] && !_TECHMAP_CONSTVAL_B_[B_WIDTH-1];
  localparam integer AWidth = A_WIDTH - AZero;
  localparam integer BWidth = B_WIDTH - BZero;
  localparam [0:0] ASigned = A_SIGNED && !AZero;
  localparam [0:0] BSigned = B_SIGNED && !BZero;
  // The narrower factor has the rows; the other one is added up.
  localparam [0:0] Swap = BWidth > AWidth;
  localparam integer Wide = Swap ? BWidth : AWidth;
  localparam integer Rows = Swap ? AWidth : BWidth;
  localparam [0:0] WideSigned = Swap ? BSigned : ASigned;
  localparam [0:0] RowsSigned = Swap ? ASigned : BSigned;
  // Beyond this, compressing the rows is the faster way.
  wire _TECHMAP_FAIL_ = Rows < 2 || Rows > 8 || Wide > 16;

  wire [Wide-1:0] wide;
  wire [Rows-1:0] rows;
  generate if (Swap) begin
    assign wide = B[Wide-1:0];
    assign rows = A[Rows-1:0];
  end else begin
    assign wide = A[Wide-1:0];
    assign rows = B[Rows-1:0];
  end endgenerate

  // Nodes of a tree: node i of a level stands for rows i * 2^level and on, and has as many bits more than the wide factor.
  // The highest row of two's complement counts negative: as a leaf it is positive, and what takes it subtracts it.
  localparam integer Levels = $clog2(Rows);
  genvar level, i;
  generate for (level = 0; level <= Levels; level = level + 1) begin:tree
    for (i = 0; i << level < Rows; i = i + 1) begin:node
      localparam integer Lower = level == 0 ? 1 : 1 << (level - 1);  // rows of its lower half
      localparam integer Own = ((i + 1) << level) > Rows ? Rows - (i << level) : 1 << level;
      localparam [0:0] Negative = RowsSigned && ((i + 1) << level) >= Rows;
      wire [Wide+Own-1:0] value;
      if (level == 0) begin
        wire [Wide-1:0] part;
        assign part = wide & {Wide{rows[i]}};
        assign value = {WideSigned && part[Wide-1], part};
      end else if (Own <= Lower) begin
        assign value = tree[level-1].node[2*i].value;
      end else begin
        // The lower half's lower bits stay as they are.
        localparam integer Upper = Own - Lower;
        localparam [0:0] Subtracts = Negative && Upper == 1;
        wire [Wide+Lower-1:0] lower;
        wire [Wide+Upper-1:0] upper, lower_part, x, co;
        assign lower = tree[level-1].node[2*i].value;
        assign upper = tree[level-1].node[2*i+1].value;
        assign lower_part = {{Upper{WideSigned && lower[Wide+Lower-1]}}, lower[Wide+Lower-1:Lower]};
        assign value[Lower-1:0] = lower[Lower-1:0];
        \$alu #(
          .A_SIGNED(0), .B_SIGNED(0), .A_WIDTH(Wide+Upper), .B_WIDTH(Wide+Upper), .Y_WIDTH(Wide+Upper)
        ) add (
          .A(lower_part), .B(upper), .CI(Subtracts), .BI(Subtracts), .Y(value[Wide+Own-1:Lower]), .X(x), .CO(co)
        );
      end
    end
  end endgenerate
  wire [Wide+Rows-1:0] product;
  assign product = tree[Levels].node[0].value;

  generate if (Y_WIDTH > Wide + Rows) begin
    assign Y = {{(Y_WIDTH-Wide-Rows){(WideSigned || RowsSigned) && product[Wide+Rows-1]}}, product};
  end else begin
    assign Y = product[Y_WIDTH-1:0];
  end endgenerate
endmodule
