/// The packets of the serial line, and how they are framed.
///
/// On the wire a packet stands between flag bytes, as in HDLC over asynchronous lines (RFC 1662): flag and escape bytes
/// within it are replaced by an escape byte and the byte exclusive-or `EscapeFlip`. Its last four bytes are the frame
/// check sequence, lowest byte first: the CRC-32 of ISO 3309 over all bytes before. Numbers go lowest byte first.
///
///   host to board                                        board to host
///   Read:  type, sequence, address[2]                    ReadReply:  type, sequence, value[4]
///   Write: type, sequence, address[2], value[4]          WriteReply: type, sequence
///   Frame: type, the bytes of one AXI4-Stream frame      Record:     type, the 16 bytes of one record
///
/// A reply repeats its request's sequence byte. Requests and frames may be repeated when no answer came: reading,
/// writing the same value and answering the same frame again do no harm, and tags tell records apart. Addresses below
/// 0x1000 are the kernel's registers, those from there on the line's own.
package serial_pkg;

  localparam logic [7:0] Flag = 8'h7E;
  localparam logic [7:0] Escape = 8'h7D;
  localparam logic [7:0] EscapeFlip = 8'h20;

  typedef enum logic [7:0] {
    TypeRead = 8'h01,
    TypeWrite = 8'h02,
    TypeFrame = 8'h03,
    TypeReadReply = 8'h81,
    TypeWriteReply = 8'h82,
    TypeRecord = 8'h83
  } type_e;

  // The line's own registers, all read-only; the counters wrap.
  localparam logic [15:0] RegLineId = 16'h1000;
  localparam logic [15:0] RegPackets = 16'h1004;  // packets taken, whole and undamaged
  localparam logic [15:0] RegDamaged = 16'h1008;  // packets dropped for their check sequence, a lost byte or an abort
  localparam logic [15:0] RegOverruns = 16'h100C;  // packets dropped because the buffer was full or they were too long
  localparam logic [15:0] RegMalformed = 16'h1010;  // undamaged packets of no known type or length
  // What `RegLineId` reads; the lower half is the version of all this.
  localparam logic [31:0] LineId = 32'hED51_0001;

  localparam logic [31:0] CrcStart = 32'hFFFF_FFFF;
  // The register after data and their check sequence.
  localparam logic [31:0] CrcResidue = 32'hDEBB_20E3;

  // One byte further; the polynomial's coefficients are reflected, since a UART sends the lowest bit first.
  function automatic logic [31:0] crc_step(input logic [31:0] crc, input logic [7:0] data);
    logic [31:0] state;
    state = crc ^ {24'd0, data};
    for (int unsigned bit_index = 0; bit_index < 8; bit_index++) begin
      state = {1'b0, state[31:1]} ^ (state[0] ? 32'hEDB8_8320 : 32'd0);
    end
    return state;
  endfunction

  // Greatest common divisor: the smallest numbers with the ratio of clock and baud rate.
  function automatic int unsigned gcd(input int unsigned first, input int unsigned second);
    int unsigned larger, smaller, rest;
    larger  = first;
    smaller = second;
    while (smaller != 0) begin
      rest    = larger % smaller;
      larger  = smaller;
      smaller = rest;
    end
    return larger;
  endfunction

endpackage
