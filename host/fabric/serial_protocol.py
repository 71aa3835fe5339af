# Made from hw/registers.toml by `python -m edgesight.hls.registers`; change it there.
"""The serial line's packets: framing bytes, types, and byte offsets of the line's own registers.

On the wire a packet stands between flag bytes, as in HDLC over asynchronous lines (RFC 1662): flag and escape bytes
within it are replaced by an escape byte and the byte exclusive-or `escape_flip`. Its last four bytes are the frame
check sequence, lowest byte first: the CRC-32 of ISO 3309 over all bytes before. Numbers go lowest byte first.

A reply repeats its request's sequence byte. Requests and frames may be repeated when no answer came: reading,
writing the same value and answering the same frame again do no harm, and tags tell records apart. Addresses below
0x1000 are the kernel's registers, those from there on the line's own.
"""

from __future__ import annotations

from enum import IntEnum

# Stands before and behind every packet.
FLAG = 0x7E
# Stands before a byte of a packet that would be a flag or an escape.
ESCAPE = 0x7D
# Such a byte is sent exclusive-or this.
ESCAPE_FLIP = 0x20
# What `line_id` reads; the lower half is the version of all this.
LINE_ID_VALUE = 0xED510001


class Packet(IntEnum):
    """Type byte of a packet."""

    # Host to board: type, sequence, address[2].
    READ = 1
    # Host to board: type, sequence, address[2], value[4].
    WRITE = 2
    # Host to board: type, the bytes of one AXI4-Stream frame.
    FRAME = 3
    # Board to host: type, sequence, value[4].
    READ_REPLY = 129
    # Board to host: type, sequence.
    WRITE_REPLY = 130
    # Board to host: type, the bytes of one record: 8 x `record_beats`.
    RECORD = 131


# Byte offsets of the line's own registers, all read-only; the counters wrap.
# Constant that tells EdgeSight's serial line from anything else.
LINE_ID = 0x1000
# Counter: packets taken, whole and undamaged.
PACKETS = 0x1004
# Counter: packets dropped for their check sequence, a lost byte or an abort.
DAMAGED = 0x1008
# Counter: packets dropped because the buffer was full or they were too long.
OVERRUNS = 0x100C
# Counter: undamaged packets of no known type or length.
MALFORMED = 0x1010
