/// Keeps the pixels of a map in a memory and reads their windows out of it, as many values a cycle as a unit multiplies: a
/// convolution's input generator.
///
/// Formula:  the pixels are those of sliding_window.sv's windows, with padding of 0. A beat has in lane side * Simd + i channel
///           (set * SideBlocks + side) * Share + slice * Simd + i of one tap, for Share = Channels / Blocks; beats come in the
///           order: for window, by rows; for set < Blocks / SideBlocks; for turn < Turns; for tap, by rows; for slice <
///           Share / Simd. That is mvu.sv's order of steps.
/// Memory:   `Pixels` pixels in a ring, each in Words = Channels / (SideBlocks * Simd) words of a beat; none is kept twice,
///           and no window. A pixel's place is free again once the windows to come begin behind it. A window spans up to
///           (ReachH - 1) * ImgW + ReachW pixels; room for more lets a frame's first rows come while the windows of the one
///           before are read.
/// Interval: Blocks / SideBlocks * Turns * KernelH * KernelW * Share / Simd cycles a window, and Words cycles a pixel that is
///           taken. Both go on at once; windows and frames follow without a bubble where their pixels are there.
/// Latency:  3 cycles from the cycle that takes the last pixel that a window needs, which is the one that its last tap is at
///           or behind, to its first beat.
/// Flow:     a pixel is read in place and taken with its last word, so `s_data_i` must stay while `s_valid_i` waits. Where it
///           comes `Worded`, a beat has one of its words, in their order: set by set, the slices of each in turn.
///           `s_ready_o` comes from registers alone. No window is read before its frame's first pixel was taken.
/// Does not: give a whole window at once (sliding_window.sv), or leave out pixels that no window reaches.
module window_memory #(
  // Values a pixel; all come in one beat, channel 0 lowest, unless it comes in words.
  parameter int unsigned Channels = 4,
  // Bits a value; the sign does not matter here.
  parameter int unsigned Width = 8,
  // Size of the map in pixels: frames carry no marker, they are counted.
  parameter int unsigned ImgH = 4,
  parameter int unsigned ImgW = 4,
  // Rows and columns of the window, its step, from one of its taps to the next, and of the padding around the map.
  parameter int unsigned KernelH = 3,
  parameter int unsigned KernelW = 3,
  parameter int unsigned StrideH = 1,
  parameter int unsigned StrideW = 1,
  parameter int unsigned DilationH = 1,
  parameter int unsigned DilationW = 1,
  parameter int unsigned PadTop = 0,
  parameter int unsigned PadLeft = 0,
  parameter int unsigned PadBottom = 0,
  parameter int unsigned PadRight = 0,
  // Groups of the convolution, and those whose values come side by side; SideBlocks divides Blocks.
  parameter int unsigned Blocks = 1,
  parameter int unsigned SideBlocks = 1,
  // Values of a group a cycle; divides Channels / Blocks.
  parameter int unsigned Simd = 2,
  // How often a group's values are read, one time after the other: once for each fold of its outputs.
  parameter int unsigned Turns = 1,
  // Pixels that the memory holds.
  parameter int unsigned Pixels = 16,
  // Whether a pixel comes word by word, so that none is picked from a beat of all.
  parameter bit Worded = 1'b0,
  localparam int unsigned WordWidth = SideBlocks * Simd * Width,
  localparam int unsigned BeatWidth = Worded ? WordWidth : Channels * Width
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  input  logic                      s_valid_i,
  output logic                      s_ready_o,
  input  logic [BeatWidth-1:0]      s_data_i,
  output logic                      m_valid_o,
  input  logic                      m_ready_i,
  output logic [WordWidth-1:0]      m_data_o
);
  // From the first tap to the last. Nothing here falls below 0 or is divided by it: the checks are what speaks.
  localparam int unsigned ReachH = KernelH > 0 ? (KernelH - 1) * DilationH + 1 : 1;
  localparam int unsigned ReachW = KernelW > 0 ? (KernelW - 1) * DilationW + 1 : 1;
  localparam int unsigned Share = Blocks > 0 ? Channels / Blocks : 1;

  if (Width < 1 || ImgH < 1 || ImgW < 1 || Turns < 1) begin : g_check_size
    $error("window_memory: Width, ImgH, ImgW and Turns must be at least 1, but are %0d, %0d, %0d and %0d",
           Width, ImgH, ImgW, Turns);
  end
  if (KernelH < 1 || KernelW < 1 || StrideH < 1 || StrideW < 1 || DilationH < 1 || DilationW < 1) begin : g_check_window
    $error("window_memory: kernel, stride and dilation must be at least 1, but are %0d x %0d, %0d x %0d and %0d x %0d",
           KernelH, KernelW, StrideH, StrideW, DilationH, DilationW);
  end
  if (PadTop + ImgH + PadBottom < ReachH || PadLeft + ImgW + PadRight < ReachW) begin : g_check_reach
    $error("window_memory: the window (%0d x %0d) is larger than the padded image (%0d x %0d)",
           ReachH, ReachW, PadTop + ImgH + PadBottom, PadLeft + ImgW + PadRight);
  end
  if (Blocks < 1 || SideBlocks < 1 || Channels < 1 || Channels % Blocks != 0 || Blocks % SideBlocks != 0) begin : g_check_blocks
    $error("window_memory: Blocks must divide Channels, and SideBlocks Blocks, but they are %0d, %0d and %0d",
           Blocks, Channels, SideBlocks);
  end
  if (Simd < 1 || Share % Simd != 0) begin : g_check_simd
    $error("window_memory: Simd must divide Channels / Blocks, but they are %0d and %0d", Simd, Share);
  end

  localparam int unsigned WindowRows = (PadTop + ImgH + PadBottom - ReachH) / (StrideH > 0 ? StrideH : 1) + 1;
  localparam int unsigned WindowColumns = (PadLeft + ImgW + PadRight - ReachW) / (StrideW > 0 ? StrideW : 1) + 1;
  localparam int unsigned Frame = ImgH * ImgW > 0 ? ImgH * ImgW : 1;
  localparam int unsigned Sets = SideBlocks > 0 ? Blocks / SideBlocks : 1;
  localparam int unsigned Slices = Simd > 0 ? Share / Simd : 1;
  localparam int unsigned Words = Sets * Slices;
  localparam int unsigned Depth = Pixels * Words;
  localparam int unsigned AddressWidth = Depth > 1 ? $clog2(Depth) : 1;
  typedef logic [AddressWidth-1:0] address_t;

  // ---- Which pixels a window needs: the first so many of its frame, without the first so many that none needs any more.
  //      Both count pixels; both grow from a window to the next, by a step that its row or its column alone gives -------
  typedef int signed index_t;

  function automatic index_t clipped(index_t value, index_t low, index_t high);
    return value < low ? low : value > high ? high : value;
  endfunction
  function automatic index_t needed_columns(index_t column);
    return clipped(column * index_t'(StrideW) + index_t'(ReachW) - index_t'(PadLeft), 1, index_t'(ImgW));
  endfunction
  function automatic index_t needed(index_t row, index_t column);
    index_t last;
    last = row * index_t'(StrideH) + index_t'(ReachH) - 1 - index_t'(PadTop);
    if (last < 0) return 1;
    return last >= index_t'(ImgH) ? index_t'(Frame) : last * index_t'(ImgW) + needed_columns(column);
  endfunction
  function automatic index_t gone_columns(index_t column);
    return clipped(column * index_t'(StrideW) - index_t'(PadLeft), 0, index_t'(ImgW));
  endfunction
  function automatic index_t gone(index_t row, index_t column);
    index_t first;
    first = row * index_t'(StrideH) - index_t'(PadTop);
    if (first < 0) return 0;
    return first >= index_t'(ImgH) ? index_t'(Frame) : first * index_t'(ImgW) + gone_columns(column);
  endfunction
  // Rows in which the last tap, or the first one, is in the map, so that a window's column counts.
  function automatic bit inside_map(index_t row, index_t tap);
    return row * index_t'(StrideH) + tap >= index_t'(PadTop) && row * index_t'(StrideH) + tap < index_t'(PadTop + ImgH);
  endfunction
  function automatic index_t widest(bit last_inside, bit first_inside);
    index_t width;
    widest = 0;
    for (index_t column = 0; column < index_t'(WindowColumns); column++) begin
      width = (last_inside ? needed_columns(column) : 0) - (first_inside ? gone_columns(column) : 0);
      if (column == 0 || width > widest) widest = width;
    end
  endfunction
  function automatic index_t largest();
    index_t rows;
    bit last_inside, first_inside;
    largest = 1;
    for (index_t row = 0; row < index_t'(WindowRows); row++) begin
      last_inside = inside_map(row, index_t'(ReachH) - 1);
      first_inside = inside_map(row, 0);
      rows = needed(row, 0) - (last_inside ? needed_columns(0) : 0) - gone(row, 0) + (first_inside ? gone_columns(0) : 0);
      if (rows + widest(last_inside, first_inside) > largest) largest = rows + widest(last_inside, first_inside);
    end
  endfunction
  localparam int unsigned Least = unsigned'(largest());
  if (Pixels < Least) begin : g_check_pixels
    $error("window_memory: Pixels must be at least %0d, or no window would ever be whole, but is %0d", Least, Pixels);
  end

  localparam int unsigned StepWidth = $clog2(Frame + 1);
  localparam index_t LastRow = index_t'(WindowRows) - 1;
  localparam index_t LastColumn = index_t'(WindowColumns) - 1;
  typedef logic [WindowRows-1:0][StepWidth-1:0] row_steps_t;  // from a row's last window to the next one's first
  typedef logic [WindowColumns-1:0][StepWidth-1:0] column_steps_t;  // from a window to the next one in its row

  function automatic row_steps_t rows_needed();
    for (index_t row = 0; row < LastRow; row++) rows_needed[row] = StepWidth'(needed(row + 1, 0) - needed(row, LastColumn));
    rows_needed[LastRow] = StepWidth'(needed(0, 0) + index_t'(Frame) - needed(LastRow, LastColumn));
  endfunction
  function automatic row_steps_t rows_gone();
    for (index_t row = 0; row < LastRow; row++) rows_gone[row] = StepWidth'(gone(row + 1, 0) - gone(row, LastColumn));
    rows_gone[LastRow] = StepWidth'(index_t'(Frame) - gone(LastRow, LastColumn));
  endfunction
  function automatic column_steps_t columns_needed();
    for (index_t column = 0; column < LastColumn; column++) begin
      columns_needed[column] = StepWidth'(needed_columns(column + 1) - needed_columns(column));
    end
    columns_needed[LastColumn] = '0;
  endfunction
  function automatic column_steps_t columns_gone();
    for (index_t column = 0; column < LastColumn; column++) begin
      columns_gone[column] = StepWidth'(gone_columns(column + 1) - gone_columns(column));
    end
    columns_gone[LastColumn] = '0;
  endfunction
  function automatic logic [WindowRows-1:0] rows_inside(index_t tap);
    for (index_t row = 0; row <= LastRow; row++) rows_inside[row] = inside_map(row, tap);
  endfunction
  localparam row_steps_t RowsNeeded = rows_needed();
  localparam row_steps_t RowsGone = rows_gone();
  localparam column_steps_t ColumnsNeeded = columns_needed();
  localparam column_steps_t ColumnsGone = columns_gone();
  localparam logic [WindowRows-1:0] LastTapInside = rows_inside(index_t'(ReachH) - 1);
  localparam logic [WindowRows-1:0] FirstTapInside = rows_inside(0);

  // ---- The walk: window, set, turn, tap, slice -------------------------------------------------------------------------
  localparam int unsigned RowWidth = WindowRows > 1 ? $clog2(WindowRows) : 1;
  localparam int unsigned ColumnWidth = WindowColumns > 1 ? $clog2(WindowColumns) : 1;
  localparam int unsigned SetWidth = Sets > 1 ? $clog2(Sets) : 1;
  localparam int unsigned TurnWidth = Turns > 1 ? $clog2(Turns) : 1;
  localparam int unsigned TapRowWidth = KernelH > 1 ? $clog2(KernelH) : 1;
  localparam int unsigned TapColumnWidth = KernelW > 1 ? $clog2(KernelW) : 1;
  localparam int unsigned SliceWidth = Slices > 1 ? $clog2(Slices) : 1;
  logic [RowWidth-1:0] row_q;
  logic [ColumnWidth-1:0] column_q;
  logic [SetWidth-1:0] set_q;
  logic [TurnWidth-1:0] turn_q;
  logic [TapRowWidth-1:0] tap_row_q;
  logic [TapColumnWidth-1:0] tap_column_q;
  logic [SliceWidth-1:0] slice_q;

  // Whether the step is the last of its tap, of its row of taps, ... of its frame. Each counter has a register that says
  // whether it is at its last value, so that no comparison is on the way of what the end of a window or of a row changes.
  logic slice_last_q, tap_column_last_q, tap_row_last_q, turn_last_q, set_last_q, column_last_q, row_last_q;
  logic ends_tap, ends_line, ends_turn, ends_set, ends_window, ends_row, ends_frame;
  assign ends_tap = Slices == 1 || slice_last_q;
  assign ends_line = ends_tap && (KernelW == 1 || tap_column_last_q);
  assign ends_turn = ends_line && (KernelH == 1 || tap_row_last_q);
  assign ends_set = ends_turn && (Turns == 1 || turn_last_q);
  assign ends_window = ends_set && (Sets == 1 || set_last_q);
  assign ends_row = ends_window && (WindowColumns == 1 || column_last_q);
  assign ends_frame = ends_row && (WindowRows == 1 || row_last_q);

  // `lead_q`: pixels taken beyond those that the window needs; `room_q`: those that may be taken beyond the next one. Their
  // signs are what holds reader and writer, so that no comparison is on the path of the ready signals.
  localparam int unsigned CountWidth = $clog2(Frame + Pixels + 1) + 1;
  typedef logic signed [CountWidth-1:0] count_t;
  count_t lead_q, room_q;
  logic waits_q;  // in the memory's output register
  logic out_free, issue, store, take;
  assign out_free = !m_valid_o || m_ready_i;
  assign issue = !lead_q[CountWidth-1] && (!waits_q || out_free);

  // What the end of the window at hand adds to both is there before that end: it is found at the end of the one before.
  typedef struct packed {
    logic [StepWidth-1:0] needed;
    logic [StepWidth-1:0] gone;
  } step_t;
  function automatic step_t step_after(index_t row, index_t column);
    if (column == LastColumn) return {RowsNeeded[row], RowsGone[row]};
    return {
      LastTapInside[row] ? ColumnsNeeded[column] : StepWidth'(0), FirstTapInside[row] ? ColumnsGone[column] : StepWidth'(0)
    };
  endfunction
  typedef step_t [WindowRows-1:0] steps_of_rows_t;
  function automatic steps_of_rows_t steps_after(index_t ahead, index_t column);
    for (index_t row = 0; row <= LastRow; row++) begin
      steps_after[row] = step_after((row + ahead) % index_t'(WindowRows), column);
    end
  endfunction
  localparam steps_of_rows_t FirstOfNextRow = steps_after(1, 0);
  localparam steps_of_rows_t LastOfRow = steps_after(0, LastColumn);
  step_t step_q, step_d;  // of the window at hand, and of the one behind it
  logic [ColumnWidth-1:0] next_column;
  assign next_column = column_q + 1'b1;
  always_comb begin
    if (WindowColumns == 1 || column_last_q) step_d = FirstOfNextRow[row_q];
    else if (32'(column_q) + 2 == WindowColumns) step_d = LastOfRow[row_q];
    else begin
      step_d.needed = LastTapInside[row_q] ? ColumnsNeeded[next_column] : '0;
      step_d.gone = FirstTapInside[row_q] ? ColumnsGone[next_column] : '0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      column_q <= '0;
      set_q <= '0;
      turn_q <= '0;
      tap_row_q <= '0;
      tap_column_q <= '0;
      slice_q <= '0;
      {row_last_q, column_last_q, set_last_q, turn_last_q} <= {WindowRows == 1, WindowColumns == 1, Sets == 1, Turns == 1};
      {tap_row_last_q, tap_column_last_q, slice_last_q} <= {KernelH == 1, KernelW == 1, Slices == 1};
      step_q <= step_after(0, 0);
      lead_q <= -count_t'(needed(0, 0));
      room_q <= count_t'(Pixels - 1);
    end else begin
      lead_q <= lead_q + count_t'({1'b0, take}) - (issue && ends_window ? count_t'(step_q.needed) : '0);
      room_q <= room_q - count_t'({1'b0, take}) + (issue && ends_window ? count_t'(step_q.gone) : '0);
      if (issue) begin
        // What there is one of is not counted, so that synthesis sees it.
        if (Slices > 1) begin
          slice_q <= ends_tap ? '0 : slice_q + 1'b1;
          slice_last_q <= !ends_tap && 32'(slice_q) + 2 == Slices;
        end
        if (KernelW > 1 && ends_tap) begin
          tap_column_q <= ends_line ? '0 : tap_column_q + 1'b1;
          tap_column_last_q <= !ends_line && 32'(tap_column_q) + 2 == KernelW;
        end
        if (KernelH > 1 && ends_line) begin
          tap_row_q <= ends_turn ? '0 : tap_row_q + 1'b1;
          tap_row_last_q <= !ends_turn && 32'(tap_row_q) + 2 == KernelH;
        end
        if (Turns > 1 && ends_turn) begin
          turn_q <= ends_set ? '0 : turn_q + 1'b1;
          turn_last_q <= !ends_set && 32'(turn_q) + 2 == Turns;
        end
        if (Sets > 1 && ends_set) begin
          set_q <= ends_window ? '0 : set_q + 1'b1;
          set_last_q <= !ends_window && 32'(set_q) + 2 == Sets;
        end
        if (ends_window) step_q <= step_d;
        if (WindowColumns > 1 && ends_window) begin
          column_q <= ends_row ? '0 : column_q + 1'b1;
          column_last_q <= !ends_row && 32'(column_q) + 2 == WindowColumns;
        end
        if (WindowRows > 1 && ends_row) begin
          row_q <= ends_frame ? '0 : row_q + 1'b1;
          row_last_q <= !ends_frame && 32'(row_q) + 2 == WindowRows;
        end
      end
    end
  end

  // ---- Addresses go round in the ring; where a window begins in the padding, so do those of taps that are not there -----
  function automatic address_t around(longint signed words);
    return address_t'((words % longint'(Depth) + longint'(Depth)) % longint'(Depth));
  endfunction
  // Both sums at once, the one that goes round and the one that does not.
  function automatic address_t moved(address_t from, address_t by);
    address_t sum;
    logic [AddressWidth:0] gone_round;
    sum = from + by;
    gone_round = {1'b0, from} + ({1'b0, by} - (AddressWidth + 1)'(Depth));
    return Depth == 2 ** AddressWidth || gone_round[AddressWidth] ? sum : gone_round[AddressWidth-1:0];
  endfunction
  localparam longint signed MapRow = longint'(ImgW) * longint'(Words);
  localparam address_t FirstWindow = around(-(longint'(PadTop) * MapRow + longint'(PadLeft) * longint'(Words)));
  localparam address_t ToTap = around(longint'(DilationW) * longint'(Words) - longint'(Slices) + 1);
  localparam address_t ToLine = around(longint'(DilationH) * MapRow);
  localparam address_t ToSet = around(longint'(Slices));
  localparam address_t ToWindow = around(longint'(StrideW) * longint'(Words) - longint'(Words) + longint'(Slices));
  localparam address_t ToRow = around(longint'(StrideH) * MapRow);
  localparam address_t ToFrame = around((longint'(ImgH) - longint'(LastRow) * longint'(StrideH)) * MapRow);

  // The word to read, and where its row of taps, its window and set, and its row of windows begin.
  address_t address_q, line_q, origin_q, begin_q, address_d;
  // Where the row of windows, the window or set, the row of taps and the word behind are: all are known before it is known
  // which of them comes.
  address_t next_begin, next_origin, next_line, next_word;
  assign next_begin = moved(begin_q, WindowRows == 1 || row_last_q ? ToFrame : ToRow);
  assign next_origin = moved(origin_q, Sets == 1 || set_last_q ? ToWindow : ToSet);
  assign next_line = moved(line_q, ToLine);
  assign next_word = moved(address_q, ends_tap ? ToTap : address_t'(1 % Depth));
  always_comb begin
    if (ends_row) address_d = next_begin;
    else if (ends_set) address_d = next_origin;
    else if (ends_turn) address_d = origin_q;
    else if (ends_line) address_d = next_line;
    else address_d = next_word;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      address_q <= FirstWindow;
      line_q <= FirstWindow;
      origin_q <= FirstWindow;
      begin_q <= FirstWindow;
    end else if (issue) begin
      address_q <= address_d;
      if (ends_line) line_q <= address_d;
      if (ends_set) origin_q <= address_d;
      if (ends_row) begin_q <= address_d;
    end
  end

  // ---- Padding: where a tap lies, from the padding's first row and column on ---------------------------------------------
  logic padding;  // the step's tap is not in the map
  if (PadTop + PadLeft + PadBottom + PadRight == 0) begin : g_whole
    assign padding = 1'b0;
  end else begin : g_padded
    localparam int unsigned PlaceWidthH = $clog2(PadTop + ImgH + PadBottom + 1);
    localparam int unsigned PlaceWidthW = $clog2(PadLeft + ImgW + PadRight + 1);
    logic [PlaceWidthH-1:0] top_q, place_row_q;
    logic [PlaceWidthW-1:0] left_q, place_column_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        top_q <= '0;
        place_row_q <= '0;
        left_q <= '0;
        place_column_q <= '0;
      end else if (issue) begin
        if (ends_tap) place_column_q <= place_column_q + PlaceWidthW'(DilationW);
        if (ends_line) begin
          place_column_q <= left_q;
          place_row_q <= ends_turn ? top_q : place_row_q + PlaceWidthH'(DilationH);
        end
        if (ends_window) begin
          left_q <= ends_row ? '0 : left_q + PlaceWidthW'(StrideW);
          place_column_q <= ends_row ? '0 : left_q + PlaceWidthW'(StrideW);
        end
        if (ends_row) begin
          top_q <= ends_frame ? '0 : top_q + PlaceWidthH'(StrideH);
          place_row_q <= ends_frame ? '0 : top_q + PlaceWidthH'(StrideH);
        end
      end
    end
    assign padding = 32'(place_row_q) + 1 <= PadTop || 32'(place_row_q) >= PadTop + ImgH
        || 32'(place_column_q) + 1 <= PadLeft || 32'(place_column_q) >= PadLeft + ImgW;
  end

  // ---- Write: a pixel's words in turn -----------------------------------------------------------------------------------
  localparam int unsigned WordIndexWidth = Words > 1 ? $clog2(Words) : 1;
  logic [WordIndexWidth-1:0] word_q;
  logic word_last_q;  // a register, so that no comparison is on the path of the ready signals
  address_t write_q;
  assign store = s_valid_i && !room_q[CountWidth-1];
  assign s_ready_o = !room_q[CountWidth-1] && (Worded || word_last_q);
  assign take = store && word_last_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      word_q <= '0;
      word_last_q <= Words == 1;
      write_q <= '0;
    end else if (store) begin
      if (Words > 1) begin
        word_q <= word_last_q ? '0 : word_q + 1'b1;
        word_last_q <= !word_last_q && 32'(word_q) + 2 == Words;
      end
      write_q <= moved(write_q, address_t'(1 % Depth));
    end
  end

  logic [WordWidth-1:0] word;
  if (Worded) begin : g_worded
    assign word = s_data_i;
  end else begin : g_picked
    logic [Words-1:0][WordWidth-1:0] words;  // of the pixel that is on offer
    for (genvar w = 0; w < Words; w++) begin : g_word
      for (genvar side = 0; side < SideBlocks; side++) begin : g_side
        localparam int unsigned From = (w / Slices * SideBlocks + side) * Share + w % Slices * Simd;
        assign words[w][side*Simd*Width+:Simd*Width] = s_data_i[From*Width+:Simd*Width];
      end
    end
    assign word = words[word_q];
  end

  // ---- The memory. It reads no word in the cycle that writes it: such a pixel is not there yet, or not free -------------
  logic [WordWidth-1:0] read_q;
  // Few words, or few bits of them, are cheaper in look-up tables than in blocks of their own.
  if (Depth > 128 && Depth * WordWidth > 4096) begin : g_block
    (* ram_style = "block", no_rw_check *)
    logic [WordWidth-1:0] memory_q [Depth];
    always_ff @(posedge clk_i) begin
      if (store) memory_q[write_q] <= word;
      if (issue) read_q <= memory_q[address_q];
    end
  end else begin : g_distributed
    (* ram_style = "distributed", no_rw_check *)
    logic [WordWidth-1:0] memory_q [Depth];
    always_ff @(posedge clk_i) begin
      if (store) memory_q[write_q] <= word;
      if (issue) read_q <= memory_q[address_q];
    end
  end

  // ---- The memory's register, then the output's; padding is set where the latter loads -----------------------------------
  logic padding_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waits_q <= 1'b0;
      m_valid_o <= 1'b0;
    end else begin
      if (issue) waits_q <= 1'b1;
      else if (out_free) waits_q <= 1'b0;
      if (out_free) m_valid_o <= waits_q;
    end
  end
  always_ff @(posedge clk_i) begin
    if (issue) padding_q <= padding;
    if (out_free) m_data_o <= padding_q ? '0 : read_q;
  end
endmodule
