// Generated. Weights of layer Conv2D_Conv_0: 12 words of 4 x 3 weights of 4 bits.
module stage1_l0_conv2d_conv_0_weights (
  input  logic clk_i,
  input  logic en_i,
  input  logic [3:0] addr_i,
  output logic [47:0] data_o
);
  localparam logic [47:0] Rom [12] = '{
    48'h0f01ddf00921,
    48'hfcf3f2ecd3ec,
    48'hfe03ff310141,
    48'hf4fef022c22c,
    48'h32dcef12df02,
    48'hdc6f01f01dc1,
    48'h100310a42340,
    48'h0efeb1e11d12,
    48'hecfc22e3fdcf,
    48'h0f00fc000001,
    48'h2001fdd013a3,
    48'h1201f0de10b5
  };
  always_ff @(posedge clk_i) if (en_i) data_o <= Rom[addr_i];
endmodule
