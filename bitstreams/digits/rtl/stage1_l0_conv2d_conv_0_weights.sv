// Generated. Weights of layer Conv2D_Conv_0: 24 words of 2 x 3 weights of 4 bits.
module stage1_l0_conv2d_conv_0_weights (
  input  logic clk_i,
  input  logic en_i,
  input  logic [4:0] addr_i,
  output logic [23:0] data_o
);
  localparam logic [23:0] Rom [24] = '{
    24'hed2972,
    24'hcaa3c9,
    24'h541071,
    24'hedc2fd,
    24'hd4e5e4,
    24'hbee50e,
    24'h43d36d,
    24'h40cd13,
    24'h125cb1,
    24'hf432c4,
    24'h520da9,
    24'hdb6d33,
    24'hb44443,
    24'hf02c23,
    24'hd2dcc0,
    24'h45e652,
    24'hbedc91,
    24'hccfb12,
    24'h110d10,
    24'hc027a4,
    24'he93f95,
    24'hf00dce,
    24'h4312fc,
    24'h05340d
  };
  always_ff @(posedge clk_i) if (en_i) data_o <= Rom[addr_i];
endmodule
