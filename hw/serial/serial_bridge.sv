/// The kernel's AXI ports on an asynchronous serial line: what a board without a processor has for a driver.
///
/// Takes packets from `rx_i` and sends packets on `tx_o` (serial_protocol_pkg.sv): a frame packet becomes one AXI4-Stream frame
/// at `m_axis_*`, a record at `s_axis_*` becomes a record packet, a read or write one access at `m_axil_*` and its
/// reply; reads from 0x1000 on are the line's own registers.
/// A packet is stored until it is whole and its check sequence right; a damaged one, and one that finds no room, is
/// dropped and counted, and nothing of it reaches the kernel. Undamaged packets of no known type or length are counted
/// and dropped as well, except frames, whose length the kernel judges.
///
/// Interval: of the line, 10 * ClockHz / Baud cycles a byte, both ways at once.
/// Flow:     none on the line. The host has at most as many frames under way as the kernel buffers, and at most one
///           request: then nothing waits, and nothing overruns. Packets are worked on in their order, so that a request
///           behind a frame that the kernel does not take waits as well.
///           Replies go before records; both wait for the line, records in the kernel.
/// Does not: acknowledge frames (their records do), repeat anything, or reset the kernel.
module serial_bridge #(
  parameter int unsigned ClockHz = 100_000_000,  // of `clk_i`
  parameter int unsigned Baud = 3_000_000,
  // Bytes of received packets that are stored; a power of two. Holds two of the kernel's frames, so that one comes in
  // while the other is handed on.
  parameter int unsigned BufferBytes = 2048,
  parameter int unsigned RecordBeats = 2  // of the kernel's records: register `record_beats`
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  // the line
  input  logic        rx_i,
  output logic        tx_o,
  // frames to the kernel
  output logic [63:0] m_axis_tdata,
  output logic [ 7:0] m_axis_tkeep,
  output logic        m_axis_tvalid,
  input  logic        m_axis_tready,
  output logic        m_axis_tlast,
  // records from it
  input  logic [63:0] s_axis_tdata,
  input  logic        s_axis_tvalid,
  output logic        s_axis_tready,
  // its registers
  output logic [11:0] m_axil_awaddr,
  output logic        m_axil_awvalid,
  input  logic        m_axil_awready,
  output logic [31:0] m_axil_wdata,
  output logic [ 3:0] m_axil_wstrb,
  output logic        m_axil_wvalid,
  input  logic        m_axil_wready,
  input  logic        m_axil_bvalid,
  output logic        m_axil_bready,
  output logic [11:0] m_axil_araddr,
  output logic        m_axil_arvalid,
  input  logic        m_axil_arready,
  input  logic [31:0] m_axil_rdata,
  input  logic        m_axil_rvalid,
  output logic        m_axil_rready,
  // events, one cycle each
  output logic        packet_o,  // a packet was taken
  output logic        fault_o    // a packet was dropped
);
  import serial_protocol_pkg::*;

  // ---- The line's bytes, and packets out of them ----------------------------------------------------------------
  logic rx_valid, rx_error;
  logic [7:0] rx_data;
  logic found_valid, found_last, damaged, overrun, malformed;
  logic [7:0] found_data;
  logic byte_valid, byte_ready, byte_last;
  logic [7:0] byte_data;

  uart_rx #(
    .ClockHz(ClockHz),
    .Baud   (Baud)
  ) u_rx (
    .clk_i,
    .rst_ni,
    .rx_i,
    .valid_o(rx_valid),
    .data_o (rx_data),
    .error_o(rx_error)
  );

  hdlc_deframer u_deframer (
    .clk_i,
    .rst_ni,
    .s_valid_i(rx_valid),
    .s_data_i (rx_data),
    .s_error_i(rx_error),
    .m_valid_o(found_valid),
    .m_data_o (found_data),
    .m_last_o (found_last),
    .drop_o   (damaged)
  );

  packet_fifo #(
    .Depth(BufferBytes)
  ) u_packets (
    .clk_i,
    .rst_ni,
    .s_valid_i(found_valid),
    .s_data_i (found_data),
    .s_last_i (found_last),
    .drop_i   (damaged),
    .overrun_o(overrun),
    .m_valid_o(byte_valid),
    .m_ready_i(byte_ready),
    .m_data_o (byte_data),
    .m_last_o (byte_last)
  );

  // ---- Requests and frames --------------------------------------------------------------------------------------
  typedef enum logic [3:0] {
    StType,
    StDecode,  // a cycle of its own, for a short path
    StRequest,  // sequence, address, value
    StAddress,  // as StDecode
    StDiscard,  // the rest of a malformed packet
    StWrite,
    StWritten,
    StRead,
    StReadBack,
    StReply,
    StFrame,
    StBeat
  } state_e;

  state_e state_q;
  logic [7:0] type_q;
  logic only_q;  // the type is all there is of the packet
  logic is_write_q;
  logic [2:0] left_bytes_q;  // of the request, behind the one that comes next
  logic final_q;  // there are none: the one that comes next has to be its packet's last
  logic [55:0] request_q;  // {value, address, sequence} of a write; a read lacks the value
  logic [31:0] reply_q;
  logic aw_done_q, w_done_q;

  logic [63:0] beat_q;
  logic [7:0] keep_q;
  logic last_q;

  logic take, known;
  logic [7:0] sequence_number;
  logic [15:0] address_q;
  logic reply_taken;
  logic [31:0] line_value;
  logic [31:0] packets_q, damaged_q, overruns_q, malformed_q;

  assign byte_ready      = state_q == StType || state_q == StRequest || state_q == StDiscard || state_q == StFrame;
  assign take            = byte_valid && byte_ready;
  assign known           = type_q == TypeRead || type_q == TypeWrite || type_q == TypeFrame;
  // Bytes are shifted in from above: a whole request of either length has its last byte on top.
  assign sequence_number = is_write_q ? request_q[7:0] : request_q[39:32];
  assign malformed       = (state_q == StDecode && (only_q || !known)) ||
                           (state_q == StRequest && take && byte_last != final_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q   <= StType;
      aw_done_q <= 1'b0;
      w_done_q  <= 1'b0;
    end else begin
      unique case (state_q)
        StType: begin
          if (take) begin
            state_q <= StDecode;
          end
        end
        StDecode: begin
          if (only_q) begin
            state_q <= StType;
          end else if (!known) begin
            state_q <= StDiscard;
          end else begin
            state_q <= type_q == TypeFrame ? StFrame : StRequest;
          end
        end
        StRequest: begin
          if (take && byte_last) begin
            state_q <= final_q ? StAddress : StType;
          end else if (take && final_q) begin
            state_q <= StDiscard;
          end
        end
        StAddress: begin
          state_q <= is_write_q ? StWrite : StRead;
        end
        StDiscard: begin
          if (take && byte_last) begin
            state_q <= StType;
          end
        end
        StWrite: begin
          // The line's own registers take no values.
          if (address_q[15:12] != '0) begin
            state_q <= StReply;
          end else begin
            aw_done_q <= aw_done_q || m_axil_awready;
            w_done_q  <= w_done_q || m_axil_wready;
            if ((aw_done_q || m_axil_awready) && (w_done_q || m_axil_wready)) begin
              state_q <= StWritten;
            end
          end
        end
        StWritten: begin
          aw_done_q <= 1'b0;
          w_done_q  <= 1'b0;
          if (m_axil_bvalid) begin
            state_q <= StReply;
          end
        end
        StRead: begin
          if (address_q[15:12] != '0) begin
            state_q <= StReply;
          end else if (m_axil_arready) begin
            state_q <= StReadBack;
          end
        end
        StReadBack: begin
          if (m_axil_rvalid) begin
            state_q <= StReply;
          end
        end
        StReply: begin
          if (reply_taken) begin
            state_q <= StType;
          end
        end
        StFrame: begin
          if (take && (byte_last || keep_q[6])) begin
            state_q <= StBeat;
          end
        end
        default: begin  // StBeat
          if (m_axis_tready) begin
            state_q <= last_q ? StType : StFrame;
          end
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (take && state_q == StType) begin
      type_q <= byte_data;
      only_q <= byte_last;
    end
    if (state_q == StDecode) begin
      is_write_q   <= type_q == TypeWrite;
      left_bytes_q <= type_q == TypeWrite ? 3'd6 : 3'd2;  // behind the sequence byte
      final_q      <= 1'b0;
    end
    if (take && state_q == StRequest) begin
      left_bytes_q <= left_bytes_q - 3'd1;
      final_q      <= left_bytes_q == 3'd1;
      request_q <= {byte_data, request_q[55:8]};
    end
    if (state_q == StAddress) begin
      address_q <= is_write_q ? request_q[23:8] : request_q[55:40];
    end
    if (state_q == StRead) begin
      reply_q <= line_value;
    end
    if (state_q == StReadBack) begin
      reply_q <= m_axil_rdata;
    end
    // A beat fills from its lowest byte; its keep bits count along.
    if (state_q == StType || (state_q == StBeat && m_axis_tready)) begin
      keep_q <= '0;
    end
    if (take && state_q == StFrame) begin
      for (int unsigned lane = 0; lane < 8; lane++) begin
        if (!keep_q[lane] && (lane == 0 || keep_q[(lane+7)%8])) begin
          beat_q[lane*8+:8] <= byte_data;
        end
      end
      keep_q <= {keep_q[6:0], 1'b1};
      last_q <= byte_last;
    end
  end

  assign m_axis_tdata   = beat_q;
  assign m_axis_tkeep   = keep_q;
  assign m_axis_tlast   = last_q;
  assign m_axis_tvalid  = state_q == StBeat;

  assign m_axil_awaddr  = address_q[11:0];
  assign m_axil_awvalid = state_q == StWrite && address_q[15:12] == '0 && !aw_done_q;
  assign m_axil_wdata   = request_q[55:24];
  assign m_axil_wstrb   = '1;
  assign m_axil_wvalid  = state_q == StWrite && address_q[15:12] == '0 && !w_done_q;
  assign m_axil_bready  = state_q == StWritten;
  assign m_axil_araddr  = address_q[11:0];
  assign m_axil_arvalid = state_q == StRead && address_q[15:12] == '0;
  assign m_axil_rready  = state_q == StReadBack;

  // ---- The line's own registers ---------------------------------------------------------------------------------
  assign packet_o       = found_valid && found_last;
  assign fault_o        = damaged || overrun || malformed;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      packets_q   <= '0;
      damaged_q   <= '0;
      overruns_q  <= '0;
      malformed_q <= '0;
    end else begin
      packets_q   <= packets_q + 32'(packet_o);
      damaged_q   <= damaged_q + 32'(damaged);
      overruns_q  <= overruns_q + 32'(overrun);
      malformed_q <= malformed_q + 32'(malformed);
    end
  end

  always_comb begin
    unique case (address_q)
      RegLineId:    line_value = LineIdValue;
      RegPackets:   line_value = packets_q;
      RegDamaged:   line_value = damaged_q;
      RegOverruns:  line_value = overruns_q;
      RegMalformed: line_value = malformed_q;
      default:      line_value = '0;
    endcase
  end

  // ---- Replies and records --------------------------------------------------------------------------------------
  // A record's first two beats go out together with its type, further ones one by one behind them.
  localparam int unsigned RecordBytes = 17;
  localparam int unsigned MoreWidth = $clog2(RecordBeats);
  localparam int unsigned ReadReplyBytes = 6;
  localparam int unsigned WriteReplyBytes = 2;

  logic [RecordBytes*8-1:0] send_q;  // what is still to go out, lowest byte first
  logic [4:0] left_q;  // its bytes
  logic half_q;  // the first beat of a record is in `send_q`
  logic [MoreWidth-1:0] more_q;  // beats of the record that are still to be taken
  logic frame_ready;
  logic tx_valid, tx_ready;
  logic [7:0] tx_data;

  assign reply_taken   = state_q == StReply && left_q == '0 && !half_q && more_q == '0;
  assign s_axis_tready = left_q == '0 && !reply_taken;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
      half_q <= 1'b0;
      more_q <= '0;
    end else if (reply_taken) begin
      left_q <= is_write_q ? 5'(WriteReplyBytes) : 5'(ReadReplyBytes);
    end else if (s_axis_tvalid && s_axis_tready) begin
      if (more_q != '0) begin
        more_q <= more_q - 1'b1;
        left_q <= 5'd8;
      end else begin
        half_q <= !half_q;
        if (half_q) begin
          more_q <= MoreWidth'(RecordBeats - 2);
          left_q <= 5'(RecordBytes);
        end
      end
    end else if (left_q != '0 && frame_ready) begin
      left_q <= left_q - 5'd1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (reply_taken) begin
      send_q[47:0] <= {reply_q, sequence_number, is_write_q ? TypeWriteReply : TypeReadReply};
    end else if (s_axis_tvalid && s_axis_tready) begin
      if (more_q != '0) begin
        send_q[63:0] <= s_axis_tdata;
      end else if (half_q) begin
        send_q[135:72] <= s_axis_tdata;
      end else begin
        send_q[71:0] <= {s_axis_tdata, TypeRecord};
      end
    end else if (left_q != '0 && frame_ready) begin
      send_q <= {8'd0, send_q[RecordBytes*8-1:8]};
    end
  end

  hdlc_framer u_framer (
    .clk_i,
    .rst_ni,
    .s_valid_i(left_q != '0),
    .s_ready_o(frame_ready),
    .s_data_i (send_q[7:0]),
    .s_last_i (left_q == 5'd1 && more_q == '0),
    .m_valid_o(tx_valid),
    .m_ready_i(tx_ready),
    .m_data_o (tx_data)
  );

  uart_tx #(
    .ClockHz(ClockHz),
    .Baud   (Baud)
  ) u_tx (
    .clk_i,
    .rst_ni,
    .s_valid_i(tx_valid),
    .s_ready_o(tx_ready),
    .s_data_i (tx_data),
    .tx_o
  );

endmodule
