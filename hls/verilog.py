"""Pieces of SystemVerilog text that the emitters share: names, instances, literals, memory files."""

from __future__ import annotations

import re

import numpy as np

from edgesight.hls.folding import Fold
from edgesight.hls.network import Integers

_INDENT = "    "


def identifier(name: str) -> str:
    """A layer's name as an HDL identifier."""
    return re.sub(r"\W", "_", name, flags=re.ASCII).lower()


def declare(body: list[str], stream: str, bits: int) -> None:
    """Declare the signals of a stream."""
    body += [f"  logic {stream}_valid, {stream}_ready;", f"  logic [{bits - 1}:0] {stream}_data;"]


def instantiate(
    body: list[str],
    module: str,
    instance: str,
    parameters: dict[str, object],
    source: str,
    sink: str,
    extra: list[str] | None = None,
) -> None:
    """Instantiate a module that takes the stream `source` and gives `sink`; `extra` are more ports."""
    listed = ", ".join(f".{name}({value})" for name, value in parameters.items())
    ports = [
        ".clk_i, .rst_ni",
        f".s_valid_i({source}_valid), .s_ready_o({source}_ready), .s_data_i({source}_data)",
        f".m_valid_o({sink}_valid), .m_ready_i({sink}_ready), .m_data_o({sink}_data)",
        *(extra or []),
    ]
    body += [f"  {module} #({listed}) {instance} (", ",\n".join(f"{_INDENT}{port}" for port in ports), "  );"]


def weight_words(weights: Integers, fold: Fold, bits: int) -> str:
    """A weight memory's file, in mvu.sv's word order: address (beat, output group, lane group), lane p * Simd + i.

    `weights` are [outputs, beats, lanes], the lanes those of an output's block.
    """
    outputs, beats, lanes = weights.shape
    pe, simd = fold.pe, fold.simd
    words = weights.reshape(outputs // pe, pe, beats, lanes // simd, simd).transpose(2, 0, 3, 1, 4)
    return memory_file(words.reshape(-1, pe * simd), bits)


def memory_file(words: Integers, bits: int) -> str:
    """A memory's file of words [count, lanes], lane 0 in the lowest `bits` bits.

    Nothing but the words: Vivado takes no comment in such a file, and a line for every word.
    """
    return "".join(f"{_digits(word, bits)}\n" for word in words)


def packed(values: Integers, bits: int) -> str:
    """A SystemVerilog literal of the values side by side, the first in the lowest bits."""
    return f"{np.asarray(values).size * bits}'h{_digits(values, bits)}"


def _digits(values: Integers, bits: int) -> str:
    """Hexadecimal digits of the values side by side, the first in the lowest bits."""
    mask = (1 << bits) - 1
    # Through a bit string, since shifting one huge integer for each value would take quadratic time.
    text = "".join(format(int(value) & mask, f"0{bits}b") for value in np.asarray(values).ravel()[::-1])
    return f"{int(text, 2):0{(len(text) + 3) // 4}x}"
