/// A layer's weights: a read-only memory whose contents are a file of hexadecimal words, one a line.
///
/// Formula:  after a cycle with `en_i`, `data_o` is the word at `addr_i`; it holds until the next such cycle.
/// Interval: 1 cycle. Latency: 1 cycle.
/// Flow:     none; a reader that waits leaves `en_i` low.
/// Does not: reset `data_o`, or take an address from `Depth` on.
/// The file: a synthesis finds it by its plain name, where it runs or among its sources. A simulation looks beside this
///           file, else where it runs; where the macro EDGESIGHT_MEMORIES is defined, in the folder that the plusarg
///           `+edgesight_memories=` names, for a simulation that is built here and run there.
module weight_memory #(
  // Bits a word.
  parameter int unsigned Width = 8,
  // Words, and lines of the file.
  parameter int unsigned Depth = 4,
  // The file's name. It has no type, since not every synthesis takes a string for one.
  parameter File = "weights.mem",
  // Where the words lie: "block" memory, "distributed" in look-up tables, or "auto" as the synthesis chooses.
  // verilator lint_off UNUSEDPARAM
  parameter Style = "auto",  // an attribute alone, which a simulation does not read
  // verilator lint_on UNUSEDPARAM
  localparam int unsigned AddressWidth = Depth > 1 ? $clog2(Depth) : 1
) (
  input  logic                    clk_i,
  input  logic                    en_i,
  input  logic [AddressWidth-1:0] addr_i,
  output logic [Width-1:0]        data_o
);
  if (Width < 1) begin : g_check_width
    $error("weight_memory: Width must be at least 1, but is %0d", Width);
  end
  if (Depth < 1) begin : g_check_depth
    $error("weight_memory: Depth must be at least 1, but is %0d", Depth);
  end
  // As deep as the address reaches: a mapper spends nothing on what is beyond the file's words, and chooses by the depth
  // between block memory and look-up tables.
  (* rom_style = Style *)
  logic [Width-1:0] words[2**AddressWidth];

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

  always_ff @(posedge clk_i) begin
    if (en_i) data_o <= words[addr_i];
  end
endmodule
