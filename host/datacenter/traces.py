"""What an edge offloaded, told under the trace that its client began, which can so be followed to its end."""

from __future__ import annotations

import json
import logging
import time
from types import ModuleType

logger = logging.getLogger(__name__)


def _opentelemetry() -> ModuleType | None:
    """The doors' tracing; None where OpenTelemetry is not installed, as a data centre for edges alone needs it not."""
    try:
        from edgesight.host.doors import tracing
    except ImportError:
        return None
    return tracing


_TRACING = _opentelemetry()


def tell_offloaded(traceparent: str, edge: str, model: str, status: str, came: float) -> None:
    """A request of `edge` for a model (its checksum) that `came` at that time, seconds since 1970, has ended."""
    ended = time.time()
    if _TRACING is not None:
        _TRACING.record("edgesight.link/Offload", traceparent, came, ended)
    if logger.isEnabledFor(logging.DEBUG):
        line = {
            "trace": traceparent.split("-")[1],
            "model": model[:12],
            "caller": edge,
            "code": status,
            "milliseconds": round((ended - came) * 1e3, 3),
        }
        logger.debug("%s", json.dumps(line))
