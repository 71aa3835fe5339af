// Generated. Weights of layer Conv2D_Conv_0: 2 words of 8 x 9 weights of 3 bits.
module stage0_l0_conv2d_conv_0_weights (
  input  logic clk_i,
  input  logic en_i,
  input  logic [0:0] addr_i,
  output logic [215:0] data_o
);
  localparam logic [215:0] Rom [2] = '{
    216'hf5b23a3c9da9c894862bea38296db73ffcbf5d2fda36d1c8615b59,
    216'h0ca20008f3f6df5381047a9d5c8dbe1d3f49d43471ff8c96c31292
  };
  always_ff @(posedge clk_i) if (en_i) data_o <= Rom[addr_i];
endmodule
