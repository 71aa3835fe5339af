/// What the modules of the serial line compute with; its packets are in serial_protocol_pkg.sv.
package serial_pkg;

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
