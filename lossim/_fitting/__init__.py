"""A policy from a log."""

from lossim._fitting.fit import fit
from lossim._fitting.fitted import Fit, FittedClass, FittedDrift, FittedTraining

__all__ = ["Fit", "FittedClass", "FittedDrift", "FittedTraining", "fit"]
