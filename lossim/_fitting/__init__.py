"""A policy from a log.

From below: ``mixture`` (laws of length), ``prior`` (the law of solve rates), ``estimator`` (both together, and refits
to redrawn prompts), ``fitted`` (the results), ``fit`` (the front door).
"""

from lossim._fitting.fit import fit
from lossim._fitting.fitted import Fit, FittedClass, FittedDrift, FittedTraining

__all__ = ["Fit", "FittedClass", "FittedDrift", "FittedTraining", "fit"]
