/// A stand-in for a network: logits that depend on every pixel, its place and `Salt`, so that no mix-up goes unseen.
///
/// h = Salt; for every pixel p: h = h * 33 + p + 1 (mod 2^32), where p is the sum of the pixel's words of 32 bits, word n
/// times 2n + 1. Logit c is the top LogitWidth bits of
/// h * (0x9E3779B1 + 0x7F4A7C16 * c) (mod 2^32), signed.
/// Interval: Pixels cycles, more if `Delay` cycles after the last pixel are more. Latency: Delay + 1 cycles from there.
/// The logits come in `Beats` beats of Classes / Beats each.
/// Like a deep network it takes the next frame's pixels while an answer waits, but not its last one.
/// While a bench holds `block` high, no answer is given. Is no part of the product.
module stub_stage #(
  parameter int unsigned Pixels = 20,
  parameter int unsigned Channels = 1,
  parameter int unsigned Classes = 4,
  parameter int unsigned LogitWidth = 8,
  parameter int unsigned Beats = 1,
  parameter int unsigned Delay = 3,  // how slow the network is
  parameter logic [31:0] Salt = 32'd1  // tells stages apart
) (
  input  logic                          clk_i,
  input  logic                          rst_ni,
  input  logic                          s_valid_i,
  output logic                          s_ready_o,
  input  logic [        Channels*8-1:0] s_data_i,
  output logic                          m_valid_o,
  input  logic                          m_ready_i,
  output logic [Classes/Beats*LogitWidth-1:0] m_data_o
);

  logic block  /* verilator public_flat_rw */ = 1'b0;
  logic [31:0] hash_q, hash_d, answer_q, count_q, wait_q;
  logic [31:0] beat_q, pixel;
  logic waiting_q, last, take, gone;
  logic [(Channels*8+31)/32*32-1:0] padded;

  assign last      = count_q == 32'(Pixels - 1);
  assign m_valid_o = waiting_q && wait_q == '0 && !block;
  assign gone      = m_valid_o && m_ready_i && beat_q == 32'(Beats - 1);  // the answer's last beat
  assign s_ready_o = !(last && waiting_q && !gone);
  assign take      = s_valid_i && s_ready_o;
  assign hash_d    = hash_q * 32'd33 + pixel + 32'd1;
  assign padded    = $bits(padded)'(s_data_i);

  always_comb begin
    pixel = '0;
    for (int unsigned n = 0; n < $bits(padded) / 32; n++) begin
      pixel += padded[32*n+:32] * (2 * n + 1);
    end
  end

  for (genvar c = 0; c < Classes / Beats; c++) begin : gen_logits
    /* verilator lint_off UNUSEDSIGNAL */  // a logit is the top of it
    logic [31:0] product;
    /* verilator lint_on UNUSEDSIGNAL */
    assign product                             = answer_q * (32'h9E3779B1 + 32'h7F4A7C16 * (c + beat_q * (Classes / Beats)));
    assign m_data_o[c*LogitWidth+:LogitWidth] = product[31-:LogitWidth];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      hash_q    <= Salt;
      count_q   <= '0;
      waiting_q <= 1'b0;
      wait_q    <= '0;
      beat_q    <= '0;
    end else begin
      if (m_valid_o && m_ready_i) begin
        beat_q <= gone ? '0 : beat_q + 32'd1;
        if (gone) begin
          waiting_q <= 1'b0;
        end
      end
      if (wait_q != '0) begin
        wait_q <= wait_q - 32'd1;
      end
      if (take) begin
        hash_q  <= last ? Salt : hash_d;
        count_q <= last ? '0 : count_q + 32'd1;
        if (last) begin
          answer_q  <= hash_d;
          waiting_q <= 1'b1;
          wait_q    <= 32'(Delay);
        end
      end
    end
  end

endmodule
