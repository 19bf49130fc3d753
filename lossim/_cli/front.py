"""Where the command line begins: the page of all commands and the version come at once, all else from the library."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

from lossim._cli.colours import coloured, paint_help
from lossim._cli.commands import overview

__all__ = ["main"]

DONE = 0
STOPPED = 130
NO_READER = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, ``sys.argv`` unless given, and return its exit code.

    >>> main(["audit", "run.jsonl", "--scheme", "drgrpo"])  # on stderr: ... got 'drgrpo'; did you mean 'dr_grpo'?
    2
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no ± or λ shows ? instead
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # or Python complains of it when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    return code


def _run(words: list[str]) -> int:
    """What is asked for most by those who look around needs nothing of the library, which takes a second to load."""
    if words in ([], ["-h"], ["--help"], ["help"]):
        page = overview()
        print(paint_help(page) if coloured("auto", sys.stdout) else page, end="")
        return DONE
    if words in (["--version"], ["-V"], ["version"]):
        from importlib.metadata import version

        print(f"lossim {version('lossim')}")
        return DONE
    from lossim._cli.running import run

    return run([words[1], "--help"] if words[0] == "help" and len(words) == 2 else words)
