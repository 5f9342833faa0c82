"""``python -m quantlr`` and the command ``quantlr``: the command line, which Ctrl-C ends from its first line on."""

from __future__ import annotations

import os
import signal

from quantlr.core.errors import (
    INTERRUPTED_EXIT_STATUS,
    INTERRUPTED_TEXT,
    SYSTEM_ERROR_EXIT_STATUS,
    system_error_text,
)
from quantlr.core.memory import collect_garbage_rarely


def _exit_at_once(*_: object) -> None:
    """End the process; nothing is written yet, and an exception in the middle of an import may be lost."""
    os.write(2, f"{INTERRUPTED_TEXT}\n".encode())
    os._exit(INTERRUPTED_EXIT_STATUS)


def main() -> None:
    """Import the command line and run it; while a verb runs, Ctrl-C raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_at_once)
    collect_garbage_rarely()
    try:
        from quantlr.cli import main as command_line
    except OSError as error:  # such as too few descriptors
        os.write(2, f"{system_error_text(error)}\n".encode())
        os._exit(SYSTEM_ERROR_EXIT_STATUS)
    try:
        command_line(prog_name="quantlr")
    except SystemExit as end:
        if end.code == INTERRUPTED_EXIT_STATUS:
            # Python would end with the signal itself if the interrupt came while a library compiled code from text.
            os._exit(INTERRUPTED_EXIT_STATUS)
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: the interpreter only has to end


if __name__ == "__main__":
    main()
