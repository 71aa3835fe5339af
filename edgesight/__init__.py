"""EdgeSight: modeless inference at the edge. Say how accurate and how fast, never which model.

with edgesight.open("bitstreams/digits", fabric="csim") as edge:
    answer = edge.ask("three.png", accuracy=0.95, deadline_ms=50)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesight.host.answer import Answer
    from edgesight.host.cascade import TargetRefused
    from edgesight.host.edge import EdgeError
    from edgesight.host.errors import EdgeSightError
    from edgesight.host.fabric.base import FabricError
    from edgesight.host.images import ImageError
    from edgesight.host.kernel import Kernel, KernelError
    from edgesight.host.package import Package
    from edgesight.session import AsyncSession, Session, open_async
    from edgesight.session import open_session as open
else:
    _FROM = {
        "Answer": "host.answer",
        "AsyncSession": "session",
        "EdgeError": "host.edge",
        "EdgeSightError": "host.errors",
        "FabricError": "host.fabric.base",
        "ImageError": "host.images",
        "Kernel": "host.kernel",
        "KernelError": "host.kernel",
        "Package": "host.package",
        "Session": "session",
        "TargetRefused": "host.cascade",
        "open": "session",
        "open_async": "session",
    }

    def __getattr__(name: str) -> object:
        """Import what is asked for: the command line has this package imported before it can watch for Ctrl-C."""
        if name not in _FROM:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"edgesight.{_FROM[name]}")
        return getattr(module, "open_session" if name == "open" else name)

    def __dir__() -> list[str]:
        """What `__all__` names, loaded or not."""
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


__all__ = [
    "Answer",
    "AsyncSession",
    "EdgeError",
    "EdgeSightError",
    "FabricError",
    "ImageError",
    "Kernel",
    "KernelError",
    "Package",
    "Session",
    "TargetRefused",
    "open",
    "open_async",
]
