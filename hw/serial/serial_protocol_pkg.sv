// Made from hw/registers.toml by `python -m edgesight.hls.registers`; change it there.
/// The serial line's packets: framing bytes, types, and the line's own registers, all read-only.
///
/// On the wire a packet stands between flag bytes, as in HDLC over asynchronous lines (RFC 1662): flag and escape bytes
/// within it are replaced by an escape byte and the byte exclusive-or `escape_flip`. Its last four bytes are the frame
/// check sequence, lowest byte first: the CRC-32 of ISO 3309 over all bytes before. Numbers go lowest byte first.
///
/// A reply repeats its request's sequence byte. Requests and frames may be repeated when no answer came: reading,
/// writing the same value and answering the same frame again do no harm, and tags tell records apart. Addresses below
/// 0x1000 are the kernel's registers, those from there on the line's own.
package serial_protocol_pkg;

  // Stands before and behind every packet.
  localparam logic [7:0] Flag = 8'h7E;
  // Stands before a byte of a packet that would be a flag or an escape.
  localparam logic [7:0] Escape = 8'h7D;
  // Such a byte is sent exclusive-or this.
  localparam logic [7:0] EscapeFlip = 8'h20;
  // What `line_id` reads; the lower half is the version of all this.
  localparam logic [31:0] LineIdValue = 32'hED510001;

  // Type byte of a packet.
  typedef enum logic [7:0] {
    // Host to board: type, sequence, address[2].
    TypeRead = 8'd1,
    // Host to board: type, sequence, address[2], value[4].
    TypeWrite = 8'd2,
    // Host to board: type, the bytes of one AXI4-Stream frame.
    TypeFrame = 8'd3,
    // Board to host: type, sequence, value[4].
    TypeReadReply = 8'd129,
    // Board to host: type, sequence.
    TypeWriteReply = 8'd130,
    // Board to host: type, the bytes of one record: 8 x `record_beats`.
    TypeRecord = 8'd131
  } type_e;

  // Registers: byte offsets.
  // Constant that tells EdgeSight's serial line from anything else.
  localparam logic [15:0] RegLineId = 16'h1000;
  // Counter: packets taken, whole and undamaged.
  localparam logic [15:0] RegPackets = 16'h1004;
  // Counter: packets dropped for their check sequence, a lost byte or an abort.
  localparam logic [15:0] RegDamaged = 16'h1008;
  // Counter: packets dropped because the buffer was full or they were too long.
  localparam logic [15:0] RegOverruns = 16'h100C;
  // Counter: undamaged packets of no known type or length.
  localparam logic [15:0] RegMalformed = 16'h1010;

endpackage
