/// What the cascade's modules hand to one another.
package cascade_pkg;

  // Bit of a record's stage byte that says that no stage was sure enough.
  localparam int unsigned OffloadBit = 4;

  localparam int unsigned MaxStages = 32'(registers_pkg::MaxStages);

  // What a frame carries through the cascade. Its thresholds are those of its set when its header was accepted.
  typedef struct packed {
    logic [31:0] tag;
    logic [31:0] start;  // cycle count when its header was accepted
    logic [MaxStages-1:0][31:0] thresholds;  // by stage
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
    logic [MaxStages-1:0] answered;  // a record was made: this stage was sure
    logic offloaded;  // no stage was
    logic error;  // the frame was bad
    logic [MaxStages-1:0] logits;  // logits of this stage were taken
    logic input_stall;  // an input beat waited
    logic output_stall;  // an output beat waited
  } events_t;

  // What the counters hold.
  typedef struct packed {
    logic [31:0] frames;
    logic [MaxStages-1:0][31:0] answered;  // by stage
    logic [31:0] offloaded;
    logic [31:0] errors;
    logic [31:0] bad_headers;
    logic [31:0] input_stall_cycles;
    logic [31:0] output_stall_cycles;
    logic [31:0] last_cycles;  // header to record of the last answer
    logic [MaxStages-1:0][31:0] interval;  // between the last two logits of a stage; 0 before there were two
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
