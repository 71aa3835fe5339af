// A product of few bits as a chain of adders, one for each bit of its narrower factor.
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
  // Beyond this, compressing the rows pays, and a chain of so many adders is slow.
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

  // `sum`: of the rows so far, without the lower bits, which stay as they are.
  wire [Wide+Rows-1:0] product;
  genvar k;
  generate for (k = 0; k < Rows; k = k + 1) begin:row
    wire [Wide-1:0] part;
    wire [Wide:0] sum;
    assign part = wide & {Wide{rows[k]}};
    if (k == 0) begin
      assign sum = {WideSigned ? part[Wide-1] : 1'b0, part};
    end else begin
      // The highest bit of two's complement counts negative.
      localparam [0:0] Subtracts = k == Rows - 1 && RowsSigned;
      wire [Wide:0] x, co;
      \$alu #(.A_SIGNED(WideSigned), .B_SIGNED(WideSigned), .A_WIDTH(Wide), .B_WIDTH(Wide), .Y_WIDTH(Wide+1)) add (
        .A(row[k-1].sum[Wide:1]), .B(part), .CI(Subtracts), .BI(Subtracts), .Y(sum), .X(x), .CO(co)
      );
    end
    if (k < Rows - 1) assign product[k] = sum[0];
    else assign product[Wide+Rows-1:Rows-1] = sum;
  end endgenerate

  generate if (Y_WIDTH > Wide + Rows) begin
    assign Y = {{(Y_WIDTH-Wide-Rows){(WideSigned || RowsSigned) && product[Wide+Rows-1]}}, product};
  end else begin
    assign Y = product[Y_WIDTH-1:0];
  end endgenerate
endmodule
