"""What an instance of a library module has that costs cells: counts, made of its parameters alone.

Each function mirrors its module in hw/rtl: where that changes, so does what is counted here, and the prices want a new
fit. Bits are counted where a look-up table or a flip-flop stands for each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

from edgesight.hls.rtl.parts import ADDITIONS, Part, address_bits

Features = dict[str, float]
HALF_BLOCKS = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))  # words and bits of a RAMB18
# Flip-flops that are counted one by one: they cost no look-up tables, and nothing else in such a module a flip-flop.
REGISTERS = "registers"
_LUT_WORDS = 64  # bits of a look-up table as a memory
_BLOCK_WORDS, _BLOCK_BITS = 128, 4096  # from which window_memory.sv wants block memory
# Bits of a FIFO's beat up to which Yosys keeps it in registers, by its depth; else 1 up to a depth of _SHALLOW.
_IN_REGISTERS = {2: 13, 3: 4, 4: 3, 5: 2}
_SHALLOW = 8


def picked(places: int) -> float:
    """Look-up tables that pick one bit of so many places; wider multiplexers of the part are free."""
    return 0 if places < 2 else math.ceil(places / 4)


def stored(words: int) -> float:
    """Look-up tables of a bit of a constant table of so many words: as deep as its whole address."""
    return 0 if words < 2 else max(1, (1 << address_bits(words)) // _LUT_WORDS)


def half_blocks(words: int, bits: int) -> int:
    """Halves of block memories: the depth is that of the whole address, and a single word is none."""
    if words < 2:
        return 0
    deep = 1 << address_bits(words)
    return min(math.ceil(deep / d) * math.ceil(bits / w) for d, w in HALF_BLOCKS)


def in_blocks(words: int, bits: int) -> bool:
    """Whether window_memory.sv wants block memory."""
    return words > _BLOCK_WORDS and words * bits > _BLOCK_BITS


def prefers_blocks(words: int, bits: int) -> bool:
    """Whether Yosys makes block memory of one that is written, and that says nothing of where it lies.

    It takes what costs less: half a block as much as 16 cells of 64 words and three bits, of which one that has fewer
    bits costs seven tenths and a tenth a bit.
    """
    rest = bits % 3
    cells = math.ceil(words / _LUT_WORDS) * (10 * (bits // 3) + (7 + rest if rest else 0))
    halves = 160 * half_blocks(words, bits)
    return words > _LUT_WORDS and (cells > halves or (cells == halves and words % _LUT_WORDS == 0))


def _written(words: int, bits: int) -> Features:
    """A memory of look-up tables that is written, with what picks among them."""
    if words <= 32:
        return {"ram": 4 * math.ceil(bits / 6)}
    cells = math.ceil(words / _LUT_WORDS)
    return {"ram": 4 * math.ceil(bits / 3) * cells, "ram_pick": bits * (cells - 1)}


def _varied(text: object, bits: int) -> int:
    """How many of the bits of values side by side in a literal are not the same in all of them."""
    digits, _, value = str(text).partition("'h")
    if not value:
        return 0
    number, count = int(value, 16), int(digits) // bits
    mask = (1 << bits) - 1
    all_ones, any_ones = mask, 0
    for _ in range(count):
        all_ones &= number
        any_ones |= number
        number >>= bits
    return ((any_ones ^ all_ones) & mask).bit_count()


def _fifo(part: Part) -> Features:
    width, depth = part["Width"], part["Depth"]
    # So few bits are no memory to Yosys.
    few = width <= _IN_REGISTERS.get(depth, 1 if depth <= _SHALLOW else 0)
    if prefers_blocks(depth, width):
        memory: Features = {}
    else:
        memory = {"held": width * depth} if few else _written(depth, width)
    return {"one": 1, "width": width, "address": address_bits(depth), **memory}


def _window(part: Part) -> Features:
    pixel = part["Channels"] * part["Width"]
    reach = (part["KernelH"] - 1) * part["DilationH"] + 1, (part["KernelW"] - 1) * part["DilationW"] + 1
    padded = any(part[f"Pad{side}"] for side in ("Top", "Left", "Bottom", "Right"))
    columns = part["PadLeft"] + part["ImgW"] + part["PadRight"]
    rows = part["PadTop"] + part["ImgH"] + part["PadBottom"]
    lines = (reach[0] - 1) * pixel
    held = ((reach[1] - 1) * part["KernelH"] + part["KernelH"] * part["KernelW"]) * pixel
    return {
        "one": 1,
        "position": address_bits(columns) + address_bits(rows),
        "padded": pixel if padded else 0,
        "pads": 1 if padded else 0,
        "held": held,
        "lines": lines,
        **(_written(columns, lines) if lines else {}),
    }


def _pool(part: Part) -> Features:
    taps = part["KernelH"] * part["KernelW"]
    values = part["Channels"] * part["Width"]
    return {**_window(part), "given": values, "compares": (taps - 1) * part["Channels"]}


def _window_memory(part: Part) -> Features:
    word = part["SideBlocks"] * part["Simd"] * part["Width"]
    words = part["Channels"] // (part["SideBlocks"] * part["Simd"])
    depth = part["Pixels"] * words
    padded = any(part[f"Pad{side}"] for side in ("Top", "Left", "Bottom", "Right"))
    rows = part["PadTop"] + part["ImgH"] + part["PadBottom"]
    columns = part["PadLeft"] + part["ImgW"] + part["PadRight"]
    blocks = in_blocks(depth, word)
    return {
        "one": 1,
        "address": address_bits(depth),
        "wraps": 0 if depth == 1 << address_bits(depth) else address_bits(depth),
        "position": address_bits(rows) + address_bits(columns),
        "counted": address_bits(part["ImgH"] * part["ImgW"] + part["Pixels"] + 1),
        "steps": address_bits(part["Turns"])
        + address_bits(words)
        + address_bits(part["KernelH"])
        + address_bits(part["KernelW"]),
        "pads": address_bits(rows) + address_bits(columns) if padded else 0,
        "picked": 0 if part.parameters.get("Worded") else word * picked(words),
        "padded": word if padded else 0,
        "word": word,
        "word_in_block": word if blocks else 0,
        **({} if blocks else _written(depth, word)),
    }


def _weights(part: Part) -> Features:
    width, depth = part["Width"], part["Depth"]
    if part.parameters["Style"] == "block" or depth < 2:
        return {}
    # Of few words, many bits have the same contents, and stand for each other.
    kinds = 2.0 ** min(depth, 64)
    columns = min(kinds * -math.expm1(width * math.log1p(-1 / kinds)), width)
    tables = min(kinds / 2 * -math.expm1(width * math.log1p(-2 / kinds)), width) * stored(depth)
    deep = columns * (math.ceil(depth / 256) - 1)
    # Thresholds ascend, so that their upper bits are easier to tell than a weight's.
    if part.parameters.get("Sorted"):
        return {"sorted": tables, "sorted_deep": deep, "sorted_width": columns}
    return {"stored": tables, "deep": deep, "width": columns}


def _grouped(channels: int, pe: int, taken: int, given: int, latency: int) -> Features:
    """group_pipeline.sv as a quantiser has it: `taken` and `given` bits a value."""
    groups = channels // pe
    return {
        "one": 1,
        "taken": pe * taken,
        "group": address_bits(groups) if groups > 1 else 0,
        "latency": latency,
        "group_latency": latency * address_bits(groups) if groups > 1 else 0,
        "given": pe * given,
    }


def _pipeline(part: Part) -> Features:
    return {"one": 1, "taken": part["InWidth"], "given": part["OutWidth"], "latency": part["Latency"]}


def _additions(part: Part) -> Features:
    return {
        "made": part["AddedBits"] + part["ShiftedBits"],
        "carried": part["CarriedBits"],
        "looked": part["LookedBits"],
        REGISTERS: part["KeptBits"],
    }


def _gather(part: Part) -> Features:
    return {"one": 1, "count": address_bits(part["Parts"]), "gathered": part["Parts"] * part["Width"]}


def _split(part: Part) -> Features:
    parts, width = part["Parts"], part["Width"]
    many = parts > 1
    return {
        "one": 1,
        "count": address_bits(parts) if many else 0,
        "picked": width * picked(parts),
        "among": width * parts if many else 0,
    }


def _replay(part: Part) -> Features:
    width, words = part["Width"], part["Words"]
    if part["Turns"] == 1:
        return {}  # a wire
    kept = {} if words < 2 or replays_in_block(part) else _written(words, width)
    return {"one": 1, "width": width, "count": address_bits(words) + address_bits(part["Turns"]), **kept}


def replays_in_block(part: Part) -> bool:
    """Whether Yosys makes block memory of a replay_buffer.sv, as it does where it takes fewer cells so."""
    return part["Turns"] > 1 and prefers_blocks(part["Words"], part["Width"])


def _runtime(part: Part) -> Features:
    """A memory of two banks with the register that a word is put together in."""
    width, depth = part["Width"], 2 * part["Depth"]
    return {"one": 1, "width": width, **({} if in_blocks(depth, width) else _written(depth, width))}


def _thresholds(part: Part) -> Features:
    channels, pe, levels = part["Channels"], part["Pe"], part["Levels"]
    groups, bits, out = channels // pe, part["InWidth"], part["OutWidth"]
    compared = max(bits + 1, part["ThresholdWidth"])
    return {
        **_grouped(channels, pe, bits, out, 2 * levels + 1),
        "compared": levels * pe * compared,
        "compares": levels * pe,
        "carried": (2 * levels - 1) * pe * bits,
        "paths": pe * levels * (levels - 1),
        "first": pe * _varied(part.parameters["First"], out) * stored(groups),
        "results": pe * out,
        "counts": pe * levels,
        "stepped": pe * out * levels if _varied(part.parameters["Step"], out) else 0,
    }


def _rescale(part: Part) -> Features:
    channels, pe, bits = part["Channels"], part["Pe"], part["InWidth"]
    groups, factor, offset = channels // pe, part["MultiplierWidth"], part["OffsetWidth"]
    multiplied = _multiplied(part)
    total = max(bits + factor, offset, part["Shift"]) + 2
    kept = max(total - part["Shift"], 1)
    return {
        **_grouped(channels, pe, bits, part["OutWidth"], 5),
        "factors": pe * _varied(part.parameters["Multiplier"], factor) * stored(groups),
        "offsets": pe * _varied(part.parameters["Offset"], offset) * stored(groups),
        "summed": pe * max(bits + (factor if multiplied else 0), offset),
        "rounded": pe * kept if part["Round"] else 0,
        "halves": pe * part["Shift"] if part["Round"] == 2 else 0,
        "kept": pe * kept,
        "clipped": pe * part["OutWidth"],
        "values": pe * bits if multiplied else pe * 2 * bits,
    }


def _multiplied(part: Part) -> bool:
    """Whether rescale.sv has multipliers."""
    bits = part["MultiplierWidth"]
    return bool(_varied(part.parameters["Multiplier"], bits)) or not str(part.parameters["Multiplier"]).endswith("1")


def _upsample(part: Part) -> Features:
    width, columns = part["Width"], part["ImgW"]
    return {"one": 1, "width": width, "position": address_bits(columns), **_written(columns, width)}


def _fork(part: Part) -> Features:
    return {"users": part["Users"]}


def _concat(part: Part) -> Features:
    return {"one": 1, "sources": part["Sources"], "width": part["Width"]}


def _add(part: Part) -> Features:
    values = part["Values"] * part["Width"]
    return {"one": 1, "added": (part["Sources"] - 1) * values, "given": values}


_CHUNK = 6  # lanes that dot_products.sv counts in a step
_DSP_BITS = 9  # of a product that Yosys gives to a DSP
_COUNTED = 4  # bits of both factors of a product, multiplied, up to which it counts


def tree(leaves: int) -> list[int]:
    """Values behind each level of adders of four: the products or first counts first, the sum last."""
    counts = [leaves]
    while counts[-1] > 1:
        counts.append(math.ceil(counts[-1] / 4))
    return counts


def is_counted(bits: int, weight: int) -> bool:
    """Whether dot_products.sv counts lanes in place of products."""
    return bits * weight <= _COUNTED


def levels(part: Part) -> int:
    """Registers one behind the other of dot_products.sv in an mvu.sv."""
    bits, weight, simd = part["InWidth"], part["WeightWidth"], part["Simd"]
    counted = is_counted(bits, weight)
    return len(tree(math.ceil(simd / _CHUNK) if counted else simd)) + (counted and bits * weight > 1)


def _dot_products(part: Part) -> Features:
    """The products of an mvu.sv and the trees behind them, or what counts their bits."""
    pe, simd, bits, weight = part["Pe"], part["Simd"], part["InWidth"], part["WeightWidth"]
    total = bits + weight + math.ceil(math.log2(simd))
    counted = is_counted(bits, weight)
    trees = pe * bits * weight if counted else pe
    added, held = {2: 0, 3: 0, 4: 0}, 0
    for level, (before, after) in enumerate(itertools.pairwise(tree(math.ceil(simd / _CHUNK) if counted else simd)), 1):
        for node in range(after):
            of = min(4, before - 4 * node)
            lanes = min(simd, _CHUNK << 2 * level) if counted else 0
            wide = lanes.bit_length() if counted else min(bits + weight + 2 * level, total)
            if of > 1:
                added[of] += wide
            held += wide
    # Products of DSPs have nothing that their sum could be mapped together with.
    kind = "dsp_added" if dsps(part) else "added"
    found: Features = {**{f"{kind}{of}": trees * width for of, width in added.items()}, "held": trees * held}
    if counted:
        places = bits * weight
        return {
            **found,
            "both": trees * simd,
            "leaves": trees * math.ceil(simd / _CHUNK),
            "leaf_bits": trees * math.ceil(simd / _CHUNK) * min(simd, _CHUNK).bit_length(),
            "placed": pe * (places - 1) * total,
            "placed_kept": pe * total if places > 1 else 0,
        }
    dsp = dsps(part) > 0
    return {
        **found,
        "products": 0 if dsp else pe * simd * (bits + weight),
        "dsp_products": pe * simd * (bits + weight) if dsp else 0,
        "dsps": dsps(part),
    }


def _mvu(part: Part) -> Features:
    pe, simd, outputs, beats = part["Pe"], part["Simd"], part["Outputs"], part["Beats"]
    bits, weight, sums = part["InWidth"], part["WeightWidth"], part["AccWidth"]
    blocks, groups = part["Blocks"], part["Outputs"] // part["Pe"]
    slices = part["InLanes"] // blocks // simd
    side = max(1, pe // (outputs // blocks))
    sliced = "Sliced" in part.parameters
    places = 1 if sliced else blocks // side * slices
    near = 4 if places > 16 else 1
    lanes = side * simd * bits
    shift, out, rounding = part["Shift"], part["OutWidth"], int(str(part.parameters.get("Round", 0)))
    kept = max(sums - shift, 1) + 1
    biased = _varied(part.parameters.get("Bias", ""), part["BiasWidth"])
    rounds = shift > 0 and rounding
    partial, once = beats > 1 and groups > 1, beats * slices == 1
    # A group that starts from 0 clears its register, so that nothing is chosen before the adder.
    cleared = not once and not str(part.parameters.get("Bias", "1")).partition("h")[2].strip("0") and not partial
    tag = 4 + address_bits(groups)
    return {
        "one": 1,
        REGISTERS: _mvu_registers(part),
        "steps": sum(address_bits(count) for count in (slices, groups, beats) if count > 1),
        "words": address_bits(beats * groups * slices),
        "levels": levels(part),
        "tag_levels": tag * (2 + levels(part)),
        "blocks": address_bits(places) if blocks > 1 and not sliced else 0,
        "picked": near * lanes * picked(math.ceil(places / near)) + (lanes if near > 1 else 0),
        "lanes": lanes * (1 + near),
        "weights": pe * simd * weight,
        **_dot_products(part),
        "summed": pe * sums,
        "summed_again": 0 if once else pe * sums,
        "started": pe * (biased * stored(groups) if biased else 0),
        "loads": 0 if once or cleared else pe * sums,
        "starts": pe * (sums if partial else biased),
        **({f"partial_{name}": pe * count for name, count in _written(groups, sums).items()} if partial else {}),
        "kept": pe * kept if part["Saturate"] else 0,
        "rounded": pe * kept if rounds else 0,
        "halves": pe * shift if rounding == 2 else 0,
        "fitted": pe * out if part["Saturate"] else 0,
        "gives": pe * out,
        "shifted": pe * sums * part["ShiftBits"] if "ShiftBits" in part.parameters else 0,
    }


def _mvu_registers(part: Part) -> int:
    """Flip-flops of an mvu.sv, one by one as its text has them."""
    pe, simd, groups, beats = part["Pe"], part["Simd"], part["Outputs"] // part["Pe"], part["Beats"]
    bits, weight, sums, out = part["InWidth"], part["WeightWidth"], part["AccWidth"], part["OutWidth"]
    blocks, slices = part["Blocks"], part["InLanes"] // part["Blocks"] // simd
    side, sliced = max(1, pe // (part["Outputs"] // blocks)), "Sliced" in part.parameters
    places = 1 if sliced else blocks // side * slices
    near, lanes = (4 if places > 16 else 1), side * simd * bits
    steps = beats * groups * slices
    walk = sum(address_bits(count) + 1 for count in (slices, groups) if count > 1)
    walk += (address_bits(beats) if beats > 1 else 0) + (address_bits(steps) if steps > 1 else 0)
    if blocks > 1 and not sliced:
        walk += address_bits(places) * (1 if pe * blocks >= part["Outputs"] else 2)
    biased = pe * _varied(part.parameters.get("Bias", ""), part["BiasWidth"])
    # Of few groups, many bits of their biases are alike, and are kept once.
    kinds = 2.0 ** min(groups, 64)
    biased = round((kinds - 2) * -math.expm1(biased * math.log1p(-1 / kinds)))
    partial = beats > 1 and groups > 1
    no_bias = not str(part.parameters.get("Bias", "1")).partition("h")[2].strip("0")
    # What goes along with a step and is asked for at its end alone is a shift register.
    tag = address_bits(groups) if biased or partial else 0
    tag += 0 if beats * slices == 1 or (no_bias and not partial) else 1 + 2 * partial
    product, dsp = bits + weight, dsps(part) > 0
    width = min(product + (simd - 1).bit_length(), sums)
    if is_counted(bits, weight):
        made = bits * weight * _tree_registers(simd) + (width - (simd == bits == 1) if bits * weight > 1 else 0)
    elif part.parameters.get("Multipliers") == 1:
        made = sum(tree(simd)) * width
    else:
        product += 1 - part["InSigned"]
        made = 0 if dsp else simd * min(product, width)
        for level, after in enumerate(tree(simd)[1:], 1):
            made += after * min(product + 2 * level, width)
    shift, rounding = part["Shift"], int(str(part.parameters.get("Round", 0)))
    if beats * slices == 1:
        kept, total = 0, (min(sums, width) if no_bias else sums)
    else:
        kept, total = sums + (sums if partial else 0), sums
    plain = not shift and not part["Saturate"]
    total -= shift if shift and not rounding else 0  # bits that are cut off
    rounded = 0 if plain else max(sums - shift, 1) + bool(rounding and shift) + out
    if "ShiftBits" in part.parameters:
        rounded = sums + 1 + out
    return (
        walk
        + 2 + levels(part) + 2 * tag  # of the shift registers, the last ones are looked at
        + (near + (not dsp)) * lanes + (2 if near > 1 else 0)  # a DSP has its factors' registers
        + (0 if dsp else pe * simd * weight)
        + pe * (made + kept + total + rounded + 2 * out) + (0 if partial else biased)
        + 2 + (1 if plain else 3)
    )  # fmt: skip


def _tree_registers(lanes: int) -> int:
    """Registers of the counts of so many bits, up to that of all."""
    leaves = [min(_CHUNK, lanes - at) for at in range(0, lanes, _CHUNK)]
    found = sum(each.bit_length() for each in leaves)
    while len(leaves) > 1:
        leaves = [sum(leaves[at : at + 4]) for at in range(0, len(leaves), 4)]
        found += sum(each.bit_length() for each in leaves)
    return found


def is_dsp(bits: int, signed: bool, weight: int) -> bool:
    """Whether Yosys makes a DSP of a product that is kept whole: from nine bits on, signed ones."""
    return bits + (not signed) + weight >= _DSP_BITS


BY_MODULE: Mapping[str, Callable[[Part], Features]] = {
    "stream_fifo": _fifo,
    "sliding_window": _window,
    "max_pool": _pool,
    "window_memory": _window_memory,
    "weight_memory": _weights,
    "thresholding": _thresholds,
    "rescale": _rescale,
    "upsample": _upsample,
    "stream_fork": _fork,
    "stream_concat": _concat,
    "stream_add": _add,
    "mvu": _mvu,
    "stream_gather": _gather,
    "stream_split": _split,
    "replay_buffer": _replay,
    "group_pipeline": _pipeline,
    ADDITIONS: _additions,
    "runtime_memory": _runtime,
}


def dsps(part: Part) -> int:
    """Multipliers of the part that an instance takes."""
    if part.module == "mvu" and part.parameters.get("Multipliers") == 2:
        bits, weight, simd = part["InWidth"], part["WeightWidth"], part["Simd"]
        # A product of a single lane is the sum, and has no bit more.
        usable = is_dsp(bits, bool(part["InSigned"]), weight) and bits + weight + (simd - 1).bit_length() >= _DSP_BITS
        return part["Pe"] * simd if usable else 0
    return part["Pe"] if part.module == "rescale" and _multiplied(part) else 0
