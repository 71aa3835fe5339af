// A sum of two numbers as one carry chain.
//
// Yosys would put sums of sums together, by full adders of two look-up tables a bit, where a carry chain takes one. Counts
// of single bits are the better for it, and stay.
(* techmap_celltype = "$add $sub" *)
module edgesight_adder (A, B, Y);
  parameter A_SIGNED = 0;
  parameter B_SIGNED = 0;
  parameter A_WIDTH = 1;
  parameter B_WIDTH = 1;
  parameter Y_WIDTH = 1;
  parameter _TECHMAP_CELLTYPE_ = "$add";
  localparam [0:0] Subtracts = _TECHMAP_CELLTYPE_ == "$sub";
  localparam [0:0] Signed = A_SIGNED && B_SIGNED;
  (* force_downto *) input [A_WIDTH-1:0] A;
  (* force_downto *) input [B_WIDTH-1:0] B;
  (* force_downto *) output [Y_WIDTH-1:0] Y;
  wire _TECHMAP_FAIL_ = A_WIDTH < 4 || B_WIDTH < 4;
  wire [Y_WIDTH-1:0] x, co;
  \$alu #(.A_SIGNED(Signed), .B_SIGNED(Signed), .A_WIDTH(A_WIDTH), .B_WIDTH(B_WIDTH), .Y_WIDTH(Y_WIDTH)) _TECHMAP_REPLACE_ (
    .A(A), .B(B), .CI(Subtracts), .BI(Subtracts), .Y(Y), .X(x), .CO(co)
  );
endmodule
