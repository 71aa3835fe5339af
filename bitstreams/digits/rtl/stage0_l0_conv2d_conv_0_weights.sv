// Generated. Weights of layer Conv2D_Conv_0: 2 words of 4 x 9 weights of 3 bits.
module stage0_l0_conv2d_conv_0_weights (
  input  logic clk_i,
  input  logic en_i,
  input  logic [0:0] addr_i,
  output logic [107:0] data_o
);
  localparam logic [107:0] Rom [2] = '{
    108'hdbf5fec805d2d9a3adf8864eb51,
    108'hd5b0025cad69e8968e2b5a3829f
  };
  always_ff @(posedge clk_i) if (en_i) data_o <= Rom[addr_i];
endmodule
