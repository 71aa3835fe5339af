"""Commands that plan: each reads profiles and needs, and writes a plan as JSON and as a picture."""

from __future__ import annotations

import time
from typing import Annotated

import typer

group = typer.Typer(no_args_is_help=True, help="Plans from measured profiles and stated needs; nothing is run.")

# Every planner's one limit: reading and planning together.
Seconds = Annotated[
    float,
    typer.Option(
        "--seconds", min=0.1, help="Most that this may take; then the best plan so far is given, and says so."
    ),
]


def left(seconds: float, begun: float) -> float:
    """What is left of `seconds` since the moment `begun` (of `time.monotonic`), and no less than a twentieth."""
    return max(seconds / 20, seconds - (time.monotonic() - begun))
