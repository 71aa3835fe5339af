// Generated. Weights of layer Conv2D_Conv_0: 24 words of 2 x 3 weights of 4 bits.
module stage1_l0_conv2d_conv_0_weights (
  input  logic clk_i,
  input  logic en_i,
  input  logic [4:0] addr_i,
  output logic [23:0] data_o
);
  localparam logic [23:0] Rom [24] = '{
    24'hfd2962,
    24'hbaa3c9,
    24'h541f71,
    24'hedc2ed,
    24'hd4e5e4,
    24'hbee50e,
    24'h33d36d,
    24'h40cd22,
    24'h124cb0,
    24'hf432c4,
    24'h420da9,
    24'heb7c34,
    24'hb45443,
    24'hf01c13,
    24'hd3dbdf,
    24'h45e652,
    24'hbedc91,
    24'hccfb12,
    24'h110d20,
    24'hb027a4,
    24'he93e95,
    24'hf00dce,
    24'h4312fd,
    24'h05340d
  };
  always_ff @(posedge clk_i) if (en_i) data_o <= Rom[addr_i];
endmodule
