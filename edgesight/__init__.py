"""EdgeSight: modeless inference at the edge. Say how accurate and how fast, never which model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesight.host.answer import Answer
    from edgesight.host.kernel import Kernel, KernelError, Package
else:

    def __getattr__(name: str) -> object:
        """Import what is asked for: the command line has this package imported before it can watch for Ctrl-C."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from edgesight.host import answer, kernel

        return getattr(answer if name == "Answer" else kernel, name)


__all__ = ["Answer", "Kernel", "KernelError", "Package"]
