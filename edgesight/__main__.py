"""`edgesight` and `python -m edgesight`: the command line, from whose first moment on Ctrl-C ends the program cleanly.

What the command line needs takes a second or so to import, on a board more.
"""

from edgesight.cli import ending


def main() -> None:
    """Watch for Ctrl-C, then import the command line and run it."""
    ending.watch_interrupts()
    with ending.nothing_to_clean_up():
        from edgesight.cli import app as cli
    cli.main()


if __name__ == "__main__":
    main()
