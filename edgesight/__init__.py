"""EdgeSight: modeless inference at the edge. Say how accurate and how fast, never which model."""

from host.answer import Answer
from host.kernel import Kernel, KernelError, Package

__all__ = ["Answer", "Kernel", "KernelError", "Package"]
