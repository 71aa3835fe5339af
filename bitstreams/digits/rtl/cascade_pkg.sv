/// What the cascade's modules hand to one another.
package cascade_pkg;

  // Bit of a record's stage byte that says that no stage was sure enough.
  localparam int unsigned OffloadBit = 4;

  // What a frame carries through the cascade. Its thresholds are those of its set when its header was accepted.
  typedef struct packed {
    logic [31:0] tag;
    logic [31:0] start;  // cycle count when its header was accepted
    logic [1:0][31:0] thresholds;  // by stage
  } frame_t;

  // One result record; its lowest byte goes out first.
  typedef struct packed {
    logic [31:0] cycles;
    logic [31:0] margin;
    logic [7:0]  error;
    logic [7:0]  stage;
    logic [15:0] label;
    logic [31:0] tag;
  } record_t;

  // What happened in a cycle, for the counters.
  typedef struct packed {
    logic header;  // a valid header was accepted
    logic bad_header;  // a frame without the magic began
    logic answered0;  // a record was made: stage 0 was sure
    logic answered1;  // stage 1 was sure
    logic offloaded;  // neither was
    logic error;  // the frame was bad
    logic logits0;  // logits of stage 0 were taken
    logic logits1;  // logits of stage 1 were taken
    logic input_stall;  // an input beat waited
    logic output_stall;  // an output beat waited
  } events_t;

  // What the counters hold.
  typedef struct packed {
    logic [31:0] frames;
    logic [31:0] answered0;
    logic [31:0] answered1;
    logic [31:0] offloaded;
    logic [31:0] errors;
    logic [31:0] bad_headers;
    logic [31:0] input_stall_cycles;
    logic [31:0] output_stall_cycles;
    logic [31:0] last_cycles;  // header to record of the last answer
    logic [31:0] interval0;  // between the last two logits of stage 0; 0 before there were two
    logic [31:0] interval1;
  } counters_t;

  // State of the kernel, as the status register shows it.
  typedef struct packed {
    logic [15:0] outstanding;
    logic flushing;
    logic batch_open;
    logic receiving;
    logic draining;
  } status_t;

endpackage
