# Made from hw/registers.toml by `python -m edgesight.hls.registers`; change it there.
"""The kernel's register map: byte offsets, field masks, record errors and the protocol's constants.

Words owned here: the names of the registers and of the record's errors.
"""

from __future__ import annotations

from enum import IntEnum

# What `id` reads: this is an EdgeSight kernel.
KERNEL_ID = 0xED6E5167
# What `version` reads: major in the upper half, minor in the lower. Another major version has another register map.
INTERFACE_VERSION = 0x00010003
# Bits 63:48 of every frame header.
FRAME_MAGIC = 0xE51D
# Tag of a closing record; frames may use it, too: the error code tells them apart.
CLOSING_TAG = 0xFFFFFFFF
# Stages that a kernel can have. Registers of those that it has not read their reset values and take writes without
# effect.
MAX_STAGES = 0x04
# Rows of the threshold table.
THRESHOLD_SETS = 0x10
# Threshold: no margin is enough at this stage.
THRESHOLD_NEVER = 0xFFFFFFFF


class Error(IntEnum):
    """Error byte of a record."""

    # An answer.
    NONE = 0
    # TLAST came before the payload was whole (on the header, too).
    SHORT = 1
    # No TLAST where it was due; the beats up to and with the next TLAST were discarded.
    LONG = 2
    # TKEEP was not full before the last beat, or did not keep exactly the payload's rest on it.
    KEEP = 3
    # The header names a threshold set that does not exist.
    SET = 4
    # The header's flags are not 0.
    FLAGS = 5
    # A soft reset came while the frame was coming in.
    CUT = 6
    # Closing record of a flush, which belongs to no frame; its tag is `closing_tag`.
    FLUSH = 7


# A frame's first beat, little-endian: lowest bit and bits of each field, in order.
HEADER: dict[str, tuple[int, int]] = {
    # Any number; the frame's record repeats it.
    "tag": (0, 32),
    # None is known: 0.
    "flags": (32, 8),
    # Threshold set that the frame is answered under.
    "set": (40, 8),
    # `frame_magic`.
    "magic": (48, 16),
}


# A result record, little-endian: lowest bit and bits of each field, in order.
RECORD: dict[str, tuple[int, int]] = {
    # That of the frame's header.
    "tag": (0, 32),
    # Class with the largest logit at the stage that looked last.
    "label": (32, 16),
    # Who looked last, and whether that was enough.
    "stage": (48, 8),
    # An error code; with any but `none`, label, stage and margin say nothing.
    "error": (56, 8),
    # Best minus second-best integer logit of the stage that looked last.
    "margin": (64, 32),
    # From the header's acceptance to the record.
    "cycles": (96, 32),
}
# Stage that looked last.
RECORD_STAGE_INDEX = 0x0F
# No stage was sure enough.
RECORD_STAGE_OFFLOAD = 0x10

# Byte offset on AXI4-Lite by name; threshold<k> of set s lies 4 * s behind its name's.
OFFSETS: dict[str, int] = {
    "id": 0x000,
    "version": 0x004,
    "build_hash": 0x008,
    "weights_hash": 0x00C,
    "control": 0x010,
    "status": 0x014,
    "batch": 0x018,
    "faults": 0x01C,
    "classes": 0x020,
    "pixels": 0x024,
    "channels": 0x028,
    "frame_slots": 0x02C,
    "stages": 0x030,
    "record_beats": 0x034,
    "frames": 0x040,
    "answered_stage0": 0x044,
    "answered_stage1": 0x048,
    "offloaded": 0x04C,
    "errors": 0x050,
    "bad_headers": 0x054,
    "input_stall_cycles": 0x058,
    "output_stall_cycles": 0x05C,
    "last_cycles": 0x060,
    "interval0": 0x064,
    "interval1": 0x068,
    "interval2": 0x06C,
    "interval3": 0x070,
    "answered_stage2": 0x074,
    "answered_stage3": 0x078,
    "weights_control": 0x080,
    "weights_data": 0x084,
    "weights_crc": 0x088,
    "weights_new_hash": 0x08C,
    "weights_status": 0x090,
    "weights_words": 0x094,
    "weights_taken": 0x098,
    "threshold0": 0x100,
    "threshold1": 0x140,
    "threshold2": 0x180,
    "threshold3": 0x1C0,
}

# Fields of version: masks in place.
# Grows with additions.
VERSION_MINOR = 0x0000FFFF
# Grows with changes that need other host code.
VERSION_MAJOR = 0xFFFF0000

# Fields of control: masks in place.
# Drain, then reset datapath and counters; written again while draining: drop what is left and reset at once.
CONTROL_SOFT_RESET = 0x00000001
# Close the open batch: TLAST on the record after which nothing is outstanding, or a closing record if nothing is;
# nothing happens if no batch is open then.
CONTROL_FLUSH = 0x00000002

# Fields of status: masks in place.
# A soft reset is under way; no beat is accepted.
STATUS_DRAINING = 0x00000001
# A frame is coming in (or the rest of a bad one is being discarded).
STATUS_RECEIVING = 0x00000002
# Records were given to the output since the last TLAST.
STATUS_BATCH_OPEN = 0x00000004
# A flush is waiting for outstanding records.
STATUS_FLUSHING = 0x00000008
# Valid headers accepted minus records sent.
STATUS_OUTSTANDING = 0xFFFF0000

# Fields of batch: masks in place.
# Count; may be written at any time, counts from the last TLAST.
BATCH_RECORDS = 0x0000FFFF

# Fields of faults: masks in place.
# A frame without the magic was discarded; it yields no record.
FAULTS_BAD_HEADER = 0x00000001
# A record with error `short` was made.
FAULTS_SHORT = 0x00000002
# A record with error `long` was made.
FAULTS_LONG = 0x00000004
# A record with error `keep` was made.
FAULTS_KEEP = 0x00000008
# A record with error `set` was made.
FAULTS_SET = 0x00000010
# A record with error `flags` was made.
FAULTS_FLAGS = 0x00000020
# A record with error `cut` was made.
FAULTS_CUT = 0x00000040
# A forced soft reset dropped outstanding records.
FAULTS_DROPPED = 0x00000080

# Fields of weights_control: masks in place.
# Begin to load: words come next, into the bank that nobody reads. What was loaded before and not swapped in is
# forgotten, and every threshold of the new table is `threshold_never`.
WEIGHTS_CONTROL_BEGIN = 0x00000001
# Answer by what was loaded: frames wait until those accepted before have their records, then weights, threshold table
# and `weights_hash` change at once. Refused unless all words came and their checksum is right.
WEIGHTS_CONTROL_SWAP = 0x00000002
# Forget what was loaded: the threshold registers are those of the table in use again.
WEIGHTS_CONTROL_CANCEL = 0x00000004

# Fields of weights_status: masks in place.
# A load was begun, and neither swapped in nor cancelled: the threshold registers are those of the new table.
WEIGHTS_STATUS_LOADING = 0x00000001
# All words came and their checksum is right: it may be swapped in.
WEIGHTS_STATUS_READY = 0x00000002
# All words came, and their checksum is another than `weights_crc`, or they are no image of this kernel.
WEIGHTS_STATUS_DAMAGED = 0x00000004
# A swap waits for outstanding records; no frame is accepted.
WEIGHTS_STATUS_SWAPPING = 0x00000008
# A swap was asked for when nothing was ready. Cleared by `begin`.
WEIGHTS_STATUS_REFUSED = 0x00000010
# Bank that answers: it changes with every swap.
WEIGHTS_STATUS_BANK = 0x00000020
