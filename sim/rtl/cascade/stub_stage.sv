/// A stand-in for a network: logits that depend on every pixel, its place and `Salt`, so that no mix-up goes unseen.
///
/// h = Salt; for every pixel p: h = h * 33 + p + 1 (mod 2^32). Logit c is the top LogitWidth bits of
/// h * (0x9E3779B1 + 0x7F4A7C16 * c) (mod 2^32), signed.
/// Interval: Pixels cycles, more if `Delay` cycles after the last pixel are more. Latency: Delay + 1 cycles from there.
/// Like a deep network it takes the next frame's pixels while an answer waits, but not its last one.
/// While a bench holds `block` high, no answer is given. Is no part of the product.
module stub_stage #(
  parameter int unsigned Pixels = 20,
  parameter int unsigned Channels = 1,
  parameter int unsigned Classes = 4,
  parameter int unsigned LogitWidth = 8,
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
  output logic [Classes*LogitWidth-1:0] m_data_o
);

  logic block  /* verilator public_flat_rw */ = 1'b0;
  logic [31:0] hash_q, hash_d, answer_q, count_q, wait_q;
  logic waiting_q, last, take;

  assign last      = count_q == 32'(Pixels - 1);
  assign m_valid_o = waiting_q && wait_q == '0 && !block;
  assign s_ready_o = !(last && waiting_q && !(m_valid_o && m_ready_i));
  assign take      = s_valid_i && s_ready_o;
  assign hash_d    = hash_q * 32'd33 + 32'(s_data_i) + 32'd1;

  for (genvar c = 0; c < Classes; c++) begin : gen_logits
    /* verilator lint_off UNUSEDSIGNAL */  // a logit is the top of it
    logic [31:0] product;
    /* verilator lint_on UNUSEDSIGNAL */
    assign product                             = answer_q * (32'h9E3779B1 + 32'h7F4A7C16 * c);
    assign m_data_o[c*LogitWidth+:LogitWidth] = product[31-:LogitWidth];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      hash_q    <= Salt;
      count_q   <= '0;
      waiting_q <= 1'b0;
      wait_q    <= '0;
    end else begin
      if (m_valid_o && m_ready_i) begin
        waiting_q <= 1'b0;
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
