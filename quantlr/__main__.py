"""``python -m quantlr``: the command line."""

from quantlr.cli import main

main(prog_name="quantlr")
