// Generated. Weights of layer Conv2D_Conv_0: 2 words of 8 x 9 weights of 3 bits.
module stage0_l0_conv2d_conv_0_weights (
  input  logic clk_i,
  input  logic en_i,
  input  logic [0:0] addr_i,
  output logic [215:0] data_o
);
  localparam logic [215:0] Rom [2] = '{
    216'hd9a3bbc01d7ea3828f2bea00455f86bff0bf7c9d881f6f6f617d47,
    216'h08104707e1e8f6e1bae40ad5638db0f91f8ad4a272f89a96bb14d0
  };
  always_ff @(posedge clk_i) if (en_i) data_o <= Rom[addr_i];
endmodule
