"""What the cascade with stand-in stages does, in Python: frames good and bad, logits, and the records they yield.

Words owned here: *fault* (how a frame is spoilt on purpose), *expected record*.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from edgesight.host.registers import FRAME_MAGIC, HEADER, RECORD, RECORD_STAGE_OFFLOAD, Error

SALTS = (1, 2, 3, 4)  # of the stand-in stages, as in kernel.sv
WORD = 0xFFFF_FFFF

# How a frame can be spoilt, and what its record then says; None: no record at all.
FAULTS: dict[str, Error | None] = {
    "short": Error.SHORT,
    "header alone": Error.SHORT,
    "long": Error.LONG,
    "gap in keep": Error.KEEP,
    "early rest": Error.KEEP,
    "wrong rest": Error.KEEP,
    "header keep": Error.KEEP,
    "set": Error.SET,
    "flags": Error.FLAGS,
    "magic": None,
}
CUT = "cut"  # the fault of a frame that a soft reset ended


@dataclass(frozen=True)
class Beat:
    """One beat of an AXI4-Stream: 64 bits of data, 8 of keep, and last."""

    data: int
    keep: int
    last: bool


@dataclass(frozen=True)
class Record:
    """One result record."""

    tag: int
    label: int
    stage: int
    error: int
    margin: int
    cycles: int

    @classmethod
    def of(cls, low: int, high: int) -> Record:
        """The record that the two beats `low` and `high` carry."""
        both = high << 64 | low
        return cls(**{name: both >> at & (1 << bits) - 1 for name, (at, bits) in RECORD.items()})

    @property
    def answer(self) -> tuple[int, int, int, int, int]:
        """Everything but the cycles."""
        return self.tag, self.label, self.stage, self.error, self.margin


@dataclass(frozen=True)
class Shape:
    """The parameters of kernel.sv that frames and answers depend on."""

    pixels: int
    channels: int
    classes: int
    logit_widths: tuple[int, ...]  # by stage
    from_trunk: int = 0  # bit k: stage k goes on from what the stage before it leaves behind

    @property
    def payload_bytes(self) -> int:
        """Bytes of a frame without its header."""
        return self.pixels * self.channels

    @property
    def words(self) -> int:
        """Payload beats of a frame."""
        return -(-self.payload_bytes // 8)


@dataclass(frozen=True)
class Frame:
    """One frame on the bus, and what it must yield."""

    tag: int
    set_index: int
    payload: bytes
    beats: list[Beat]
    fault: str | None = None

    @property
    def error(self) -> Error | None:
        """Error code of its record; None where it yields no record."""
        if self.fault is None:
            return Error.NONE
        return Error.CUT if self.fault == CUT else FAULTS[self.fault]


@dataclass
class Frames:
    """Makes frames with tags that count up."""

    shape: Shape
    random: random.Random
    next_tag: int = 100
    made: list[Frame] = field(default_factory=list)

    def good(self, set_index: int = 0, payload: bytes | None = None) -> Frame:
        """A frame without fault; its payload is random if none is given."""
        payload = self.random.randbytes(self.shape.payload_bytes) if payload is None else payload
        tag = self._tag()
        return self._keep(Frame(tag, set_index, payload, beats(header(tag, set_index), payload)))

    def bad(self, fault: str, set_index: int = 0) -> Frame:
        """A frame with one fault of FAULTS."""
        tag, rng = self._tag(), self.random
        payload = rng.randbytes(self.shape.payload_bytes)
        whole = beats(header(tag, set_index), payload)
        words = self.shape.words
        if fault == "short":
            cut = rng.randrange(1, words)
            keep = rng.choice([0xFF, 0x0F, 0x01])
            whole = [*whole[:cut], Beat(whole[cut].data, keep, True)]
        elif fault == "header alone":
            whole = [Beat(whole[0].data, 0xFF, True)]
        elif fault == "long":
            extra = [Beat(rng.getrandbits(64), rng.choice([0xFF, 0x3F]), False) for _ in range(rng.randrange(0, 12))]
            last = whole[-1]
            whole = [*whole[:-1], Beat(last.data, rng.choice([last.keep, 0xFF]), False), *extra]
            whole.append(Beat(rng.getrandbits(64), 0xFF, True))
        elif fault in ("gap in keep", "early rest"):
            place = rng.randrange(1, words)
            keep = 0xEF if fault == "gap in keep" else 0x07
            whole[place] = Beat(whole[place].data, keep, False)
        elif fault == "wrong rest":
            last = whole[-1]
            wrong = [k for k in (0x01, 0x03, 0x07, 0x0F, 0x1F, 0x3F, 0x7F, 0xFF, 0x05, 0x80) if k != last.keep]
            whole[-1] = Beat(last.data, rng.choice(wrong), True)
        elif fault == "header keep":
            whole[0] = Beat(whole[0].data, 0x7F, False)
        elif fault == "set":
            whole = beats(header(tag, rng.randrange(16, 256)), payload)
        elif fault == "flags":
            whole = beats(header(tag, set_index, flags=1 << rng.randrange(8)), payload)
        elif fault == "magic":
            whole = beats(header(tag, set_index, magic=FRAME_MAGIC ^ 1 << rng.randrange(16)), payload)
            whole = whole[: rng.randrange(1, len(whole) + 1)]
            whole[-1] = Beat(whole[-1].data, 0xFF, True)
        else:
            raise ValueError(f"no fault {fault!r}")
        return self._keep(Frame(tag, set_index, payload, whole, fault))

    def _tag(self) -> int:
        self.next_tag += 1
        return self.next_tag

    def _keep(self, frame: Frame) -> Frame:
        self.made.append(frame)
        return frame


def header(tag: int, set_index: int, flags: int = 0, magic: int = FRAME_MAGIC) -> int:
    """The header beat's 64 bits."""
    values = {"magic": magic, "set": set_index, "flags": flags, "tag": tag}
    return sum(values[name] << at for name, (at, _) in HEADER.items())


def beats(head: int, payload: bytes) -> list[Beat]:
    """A whole frame's beats: `head`, then the payload, the rest of its last word kept by TKEEP."""
    words = [payload[start : start + 8] for start in range(0, len(payload), 8)]
    result = [Beat(head, 0xFF, False)]
    result += [Beat(int.from_bytes(word, "little"), (1 << len(word)) - 1, False) for word in words]
    result[-1] = Beat(result[-1].data, result[-1].keep, True)
    return result


def logits(payload: bytes, stage: int, shape: Shape) -> list[int]:
    """The stand-in stage's integer logits of one frame, as stub_stage.sv computes them."""
    state = SALTS[stage]
    turned = 0  # how often every bit of a pixel was turned over on its way
    while shape.from_trunk >> stage - turned & 1:
        turned += 1
    if turned % 2:
        payload = bytes(byte ^ 0xFF for byte in payload)
    for start in range(0, len(payload), shape.channels):
        value = payload[start : start + shape.channels]
        words = [int.from_bytes(value[at : at + 4], "little") for at in range(0, shape.channels, 4)]
        pixel = sum(word * (2 * n + 1) for n, word in enumerate(words))
        state = (state * 33 + pixel + 1) & WORD
    width = shape.logit_widths[stage]
    tops = [(state * (0x9E3779B1 + 0x7F4A7C16 * c) & WORD) >> (32 - width) for c in range(shape.classes)]
    return [top - (1 << width) if top >> (width - 1) else top for top in tops]


def decide(values: list[int]) -> tuple[int, int]:
    """Label and margin of one frame's logits."""
    second, first = sorted(values)[-2:]
    return values.index(first), first - second


def answer(payload: bytes, thresholds: tuple[int, ...], shape: Shape) -> tuple[int, int, int]:
    """Label, stage byte and margin of the record of a good frame under its thresholds by stage."""
    label = margin = stage = 0
    for stage in range(len(shape.logit_widths)):
        label, margin = decide(logits(payload, stage, shape))
        if margin >= thresholds[stage]:
            return label, stage, margin
    return label, stage | RECORD_STAGE_OFFLOAD, margin


def expected(frame: Frame, thresholds: tuple[int, ...], shape: Shape) -> tuple[int, int, int, int, int]:
    """`Record.answer` of the record that a frame with a valid header must yield."""
    error = frame.error
    assert error is not None, "a frame without the magic yields no record"
    if error is not Error.NONE:
        return frame.tag, 0, 0, int(error), 0
    label, stage, margin = answer(frame.payload, thresholds, shape)
    return frame.tag, label, stage, 0, margin
