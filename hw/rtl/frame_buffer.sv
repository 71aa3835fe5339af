/// Frame memory: one write port, two independent read ports, `Words` words of 64 bits.
///
/// Two copies of the memory, so that each is a plain one-write one-read block RAM.
///
/// Interval: 1 cycle at every port.
/// Latency:  a read answers one cycle after `read_en<k>_i` and holds its value while that is low. A word written in a cycle
///           can be read from the next cycle on.
/// Flow:     none; every access is taken.
/// Does not: arbitrate, or initialise: nothing is read that was not written before.
module frame_buffer #(
  parameter int unsigned Words = 1024,  // all slots' words
  localparam int unsigned AddrWidth = $clog2(Words)
) (
  input  logic                 clk_i,
  input  logic                 write_en_i,
  input  logic [AddrWidth-1:0] write_addr_i,
  input  logic [         63:0] write_data_i,
  input  logic                 read_en0_i,
  input  logic [AddrWidth-1:0] read_addr0_i,
  output logic [         63:0] read_data0_o,
  input  logic                 read_en1_i,
  input  logic [AddrWidth-1:0] read_addr1_i,
  output logic [         63:0] read_data1_o
);

  if (Words < 2) begin : gen_words_check
    $error("frame_buffer: Words must be at least 2, but is %0d", Words);
  end

  logic [63:0] copy0[Words];
  logic [63:0] copy1[Words];

  always_ff @(posedge clk_i) begin
    if (write_en_i) begin
      copy0[write_addr_i] <= write_data_i;
    end
    if (read_en0_i) begin
      read_data0_o <= copy0[read_addr0_i];
    end
  end

  always_ff @(posedge clk_i) begin
    if (write_en_i) begin
      copy1[write_addr_i] <= write_data_i;
    end
    if (read_en1_i) begin
      read_data1_o <= copy1[read_addr1_i];
    end
  end

endmodule
