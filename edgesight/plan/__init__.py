"""Commands that plan: each reads profiles and needs, and writes a plan as JSON and as a picture."""

from __future__ import annotations

import typer

group = typer.Typer(no_args_is_help=True, help="Plans from measured profiles and stated needs; nothing is run.")
