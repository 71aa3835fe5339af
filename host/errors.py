"""What all errors have in common that a user can mend."""

from __future__ import annotations


class EdgeSightError(Exception):
    """A fault that whoever uses this can mend: its one message says where, what was found and what to do.

    A command ends with it as one line. Anything else that is raised is a fault of ours, and shows its traceback.
    """
