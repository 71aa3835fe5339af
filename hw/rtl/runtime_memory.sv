/// A layer's numbers in two banks: one is read, the other may be written meanwhile.
///
/// Formula:  after a cycle with `en_i`, `data_o` is the word at `addr_i` of the bank that the bus names; it holds until the
///           next such cycle.
/// Interval: 1 cycle. Latency: 1 cycle.
/// Writing:  a word comes over the bus in steps of 32 bits, the uppermost first, each with `shift` and this memory's
///           number; `store` in a later cycle puts it to `address` of the other bank, all bits at once. What the upper bits of
///           the first step are beyond Width does not matter.
/// Flow:     none; a reader that waits leaves `en_i` low, and is idle when the banks change.
/// Does not: reset `data_o`, take an address from Depth on, or hold anything in bank 1 before it is written.
/// The file: what bank 0 holds from the start, as weight_memory.sv finds it.
module runtime_memory #(
  // Bits a word.
  parameter int unsigned Width = 8,
  // Words of a bank, and lines of the file.
  parameter int unsigned Depth = 4,
  // Its number on the bus.
  parameter int unsigned Memory = 0,
  // The file's name. It has no type, since not every synthesis takes a string for one.
  parameter File = "weights.mem",
  localparam int unsigned AddressWidth = Depth > 1 ? $clog2(Depth) : 1
) (
  input  logic                    clk_i,
  /* verilator lint_off UNUSEDSIGNAL */  // a small memory needs not all of the address
  input  weights_pkg::bus_t       bus_i,
  /* verilator lint_on UNUSEDSIGNAL */
  input  logic                    en_i,
  input  logic [AddressWidth-1:0] addr_i,
  output logic [Width-1:0]        data_o
);
  if (Width < 1) begin : g_check_width
    $error("runtime_memory: Width must be at least 1, but is %0d", Width);
  end
  if (Depth < 1 || Depth > 1 << 20) begin : g_check_depth
    $error("runtime_memory: Depth must be 1 to %0d, but is %0d", 1 << 20, Depth);
  end
  if (Memory >= 1 << 16) begin : g_check_memory
    $error("runtime_memory: Memory must be 0 to 65535, but is %0d", Memory);
  end

  // The bank is the address's upper bit.
  logic [Width-1:0] words[2**(AddressWidth+1)];

`ifdef SYNTHESIS
  initial $readmemh(File, words, 0, Depth - 1);
`else
  string folder;
`ifndef EDGESIGHT_MEMORIES
  int file;
`endif
  initial begin
`ifdef EDGESIGHT_MEMORIES
    if ($value$plusargs("edgesight_memories=%s", folder) != 0) folder = {folder, "/"};
`else
    folder = `__FILE__;
    while (folder.len() > 0 && folder.getc(folder.len() - 1) != "/") folder = folder.substr(0, folder.len() - 2);
    file = $fopen({folder, File}, "r");
    if (file == 0) folder = "";
    else $fclose(file);
`endif
    $readmemh({folder, File}, words, 0, Depth - 1);
  end
`endif

  logic chosen;
  logic [Width-1:0] word_q;
  assign chosen = bus_i.memory == 16'(Memory);

  if (Width > 32) begin : g_steps
    always_ff @(posedge clk_i) begin
      if (bus_i.shift && chosen) word_q <= {word_q[Width-33:0], bus_i.data};
    end
  end else begin : g_one_step
    always_ff @(posedge clk_i) begin
      if (bus_i.shift && chosen) word_q <= bus_i.data[Width-1:0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (bus_i.store && chosen) words[{!bus_i.bank, bus_i.address[AddressWidth-1:0]}] <= word_q;
  end

  always_ff @(posedge clk_i) begin
    if (en_i) data_o <= words[{bus_i.bank, addr_i}];
  end
endmodule
