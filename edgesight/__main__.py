"""`python -m edgesight`: the command line."""

from edgesight.cli import main

main()
