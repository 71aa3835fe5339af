"""Reuse factors by a layer's whole name, where a user gave its own name or that of its module."""

from __future__ import annotations

from collections.abc import Mapping

from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.hls.network import CompileError, names_of


def by_name(factors: Mapping[str, int], integers: IntegerNetwork, module: str) -> dict[str, int]:
    """Factors by the whole names of their layers; a layer's own name or that of its module will do."""
    known: dict[str, list[str]] = {}
    for operator in integers.operators:
        if isinstance(operator, Matrix):
            for name in names_of(operator.name):
                known.setdefault(name, []).append(operator.name)
    unknown = sorted(name for name in factors if len(known.get(name, [])) != 1)
    if unknown:
        there = ", ".join(operator.name for operator in integers.operators if isinstance(operator, Matrix))
        raise CompileError(f"{module}: no layer {', '.join(unknown)}; name one of {there}")
    return {known[name][0]: factor for name, factor in factors.items()}
