"""A function over a grid: which way length goes where, by whatever executor, as arrays, tables and maps."""

from lossim._sweeping.result import Failure, Sweep
from lossim._sweeping.sweep import sweep

__all__ = ["Failure", "Sweep", "sweep"]
