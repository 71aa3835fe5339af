/// Frame memory: one write port, `Readers` independent read ports, `Words` words of 64 bits.
///
/// A copy of the memory for every reader, so that each is a plain one-write one-read block RAM.
///
/// Interval: 1 cycle at every port.
/// Latency:  a read answers one cycle after its `read_en_i` and holds its value while that is low. A word written in a
///           cycle can be read from the next cycle on.
/// Flow:     none; every access is taken.
/// Does not: arbitrate, or initialise: nothing is read that was not written before.
module frame_buffer #(
  parameter int unsigned Words = 1024,  // all slots' words
  parameter int unsigned Readers = 2,
  localparam int unsigned AddrWidth = $clog2(Words)
) (
  input  logic                              clk_i,
  input  logic                              write_en_i,
  input  logic              [AddrWidth-1:0] write_addr_i,
  input  logic                       [63:0] write_data_i,
  input  logic [Readers-1:0]                read_en_i,
  input  logic [Readers-1:0][AddrWidth-1:0] read_addr_i,
  output logic [Readers-1:0]         [63:0] read_data_o
);

  if (Words < 2) begin : gen_words_check
    $error("frame_buffer: Words must be at least 2, but is %0d", Words);
  end
  if (Readers < 1) begin : gen_readers_check
    $error("frame_buffer: Readers must be at least 1, but is %0d", Readers);
  end

  for (genvar reader = 0; reader < Readers; reader++) begin : gen_copy
    logic [63:0] words[Words];

    always_ff @(posedge clk_i) begin
      if (write_en_i) begin
        words[write_addr_i] <= write_data_i;
      end
      if (read_en_i[reader]) begin
        read_data_o[reader] <= words[read_addr_i[reader]];
      end
    end
  end

endmodule
