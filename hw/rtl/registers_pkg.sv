// Made from hw/registers.toml by `python -m edgesight.hls.registers`; change it there.
/// The register map's byte offsets and bit positions, the record's error codes, the protocol's constants.
package registers_pkg;

  // What `id` reads: this is an EdgeSight kernel.
  localparam logic [31:0] KernelId = 32'hED6E5167;
  // What `version` reads: major in the upper half, minor in the lower. Another major version has another register map.
  localparam logic [31:0] InterfaceVersion = 32'h00010003;
  // Bits 63:48 of every frame header.
  localparam logic [15:0] FrameMagic = 16'hE51D;
  // Tag of a closing record; frames may use it, too: the error code tells them apart.
  localparam logic [31:0] ClosingTag = 32'hFFFFFFFF;
  // Stages that a kernel can have. Registers of those that it has not read their reset values and take writes without
  // effect.
  localparam logic [7:0] MaxStages = 8'h04;
  // Rows of the threshold table.
  localparam logic [7:0] ThresholdSets = 8'h10;
  // Threshold: no margin is enough at this stage.
  localparam logic [31:0] ThresholdNever = 32'hFFFFFFFF;

  // Error byte of a record.
  typedef enum logic [7:0] {
    // An answer.
    ErrorNone = 8'd0,
    // TLAST came before the payload was whole (on the header, too).
    ErrorShort = 8'd1,
    // No TLAST where it was due; the beats up to and with the next TLAST were discarded.
    ErrorLong = 8'd2,
    // TKEEP was not full before the last beat, or did not keep exactly the payload's rest on it.
    ErrorKeep = 8'd3,
    // The header names a threshold set that does not exist.
    ErrorSet = 8'd4,
    // The header's flags are not 0.
    ErrorFlags = 8'd5,
    // A soft reset came while the frame was coming in.
    ErrorCut = 8'd6,
    // Closing record of a flush, which belongs to no frame; its tag is `closing_tag`.
    ErrorFlush = 8'd7
  } error_e;

  // Registers: byte offsets.
  localparam logic [11:0] RegId = 12'h000;
  localparam logic [11:0] RegVersion = 12'h004;
  localparam logic [11:0] RegBuildHash = 12'h008;
  localparam logic [11:0] RegWeightsHash = 12'h00C;
  localparam logic [11:0] RegControl = 12'h010;
  localparam logic [11:0] RegStatus = 12'h014;
  localparam logic [11:0] RegBatch = 12'h018;
  localparam logic [11:0] RegFaults = 12'h01C;
  localparam logic [11:0] RegClasses = 12'h020;
  localparam logic [11:0] RegPixels = 12'h024;
  localparam logic [11:0] RegChannels = 12'h028;
  localparam logic [11:0] RegFrameSlots = 12'h02C;
  localparam logic [11:0] RegStages = 12'h030;
  localparam logic [11:0] RegRecordBeats = 12'h034;
  localparam logic [11:0] RegFrames = 12'h040;
  localparam logic [11:0] RegAnsweredStage0 = 12'h044;
  localparam logic [11:0] RegAnsweredStage1 = 12'h048;
  localparam logic [11:0] RegOffloaded = 12'h04C;
  localparam logic [11:0] RegErrors = 12'h050;
  localparam logic [11:0] RegBadHeaders = 12'h054;
  localparam logic [11:0] RegInputStallCycles = 12'h058;
  localparam logic [11:0] RegOutputStallCycles = 12'h05C;
  localparam logic [11:0] RegLastCycles = 12'h060;
  localparam logic [11:0] RegInterval0 = 12'h064;
  localparam logic [11:0] RegInterval1 = 12'h068;
  localparam logic [11:0] RegInterval2 = 12'h06C;
  localparam logic [11:0] RegInterval3 = 12'h070;
  localparam logic [11:0] RegAnsweredStage2 = 12'h074;
  localparam logic [11:0] RegAnsweredStage3 = 12'h078;
  localparam logic [11:0] RegWeightsControl = 12'h080;
  localparam logic [11:0] RegWeightsData = 12'h084;
  localparam logic [11:0] RegWeightsCrc = 12'h088;
  localparam logic [11:0] RegWeightsNewHash = 12'h08C;
  localparam logic [11:0] RegWeightsStatus = 12'h090;
  localparam logic [11:0] RegWeightsWords = 12'h094;
  localparam logic [11:0] RegWeightsTaken = 12'h098;
  localparam logic [11:0] RegThreshold0 = 12'h100;
  localparam logic [11:0] RegThreshold1 = 12'h140;
  localparam logic [11:0] RegThreshold2 = 12'h180;
  localparam logic [11:0] RegThreshold3 = 12'h1C0;

  // Fields: lowest bit and width.
  localparam int unsigned VersionMinorBit = 0;
  localparam int unsigned VersionMinorWidth = 16;
  localparam int unsigned VersionMajorBit = 16;
  localparam int unsigned VersionMajorWidth = 16;
  localparam int unsigned ControlSoftResetBit = 0;
  localparam int unsigned ControlFlushBit = 1;
  localparam int unsigned StatusDrainingBit = 0;
  localparam int unsigned StatusReceivingBit = 1;
  localparam int unsigned StatusBatchOpenBit = 2;
  localparam int unsigned StatusFlushingBit = 3;
  localparam int unsigned StatusOutstandingBit = 16;
  localparam int unsigned StatusOutstandingWidth = 16;
  localparam int unsigned BatchRecordsBit = 0;
  localparam int unsigned BatchRecordsWidth = 16;
  localparam int unsigned FaultsBadHeaderBit = 0;
  localparam int unsigned FaultsShortBit = 1;
  localparam int unsigned FaultsLongBit = 2;
  localparam int unsigned FaultsKeepBit = 3;
  localparam int unsigned FaultsSetBit = 4;
  localparam int unsigned FaultsFlagsBit = 5;
  localparam int unsigned FaultsCutBit = 6;
  localparam int unsigned FaultsDroppedBit = 7;
  localparam int unsigned WeightsControlBeginBit = 0;
  localparam int unsigned WeightsControlSwapBit = 1;
  localparam int unsigned WeightsControlCancelBit = 2;
  localparam int unsigned WeightsStatusLoadingBit = 0;
  localparam int unsigned WeightsStatusReadyBit = 1;
  localparam int unsigned WeightsStatusDamagedBit = 2;
  localparam int unsigned WeightsStatusSwappingBit = 3;
  localparam int unsigned WeightsStatusRefusedBit = 4;
  localparam int unsigned WeightsStatusBankBit = 5;

endpackage
