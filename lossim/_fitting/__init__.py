"""A policy from a log.

From below: ``_mixture`` (laws of length), ``_prior`` (the law of solve rates), ``_estimator`` (both together, and
refits on redrawn prompts), ``_fitted`` (the results), ``_fit`` (the front door).
"""

from lossim._fitting.fit import fit
from lossim._fitting.fitted import Fit, FittedClass, FittedDrift, FittedTraining

__all__ = ["Fit", "FittedClass", "FittedDrift", "FittedTraining", "fit"]
