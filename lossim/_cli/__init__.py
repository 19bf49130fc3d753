"""The command line: arguments, what the commands compute, and how both are worded."""

from lossim._cli.front import main

__all__ = ["main"]
