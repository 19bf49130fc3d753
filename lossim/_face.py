"""All that lossim offers under its own name; loaded when the first of it is asked for."""

from lossim import (
    advantages,
    aggregation,
    critics,
    curves,
    estimates,
    formulas,
    lengths,
    live,
    optimizers,
    penalties,
    policies,
    references,
    rewards,
    rollouts,
    schemes,
    selection,
    surrogates,
    tokens,
)
from lossim._auditing import Audit, Finding, audit
from lossim._changes import Attribution, Goal, SlotShare, Stop, Stops, WhatIf, WhatIfs
from lossim._display import Result, Saved, load
from lossim._engine import Drift, LengthDrift, Pace, length_drift, pace
from lossim._fitting import Fit, FittedClass, FittedDrift, FittedTraining, fit
from lossim._forecasting import Forecast, forecast
from lossim._model import Kernels, coordinates, kernel, kernels
from lossim._support.doubts import Doubt
from lossim._support.types import NoClosedForm, Outcome
from lossim._surveying import Share, Survey, log_range, survey
from lossim._sweeping import Failure, Sweep, sweep
from lossim._training import Training, train
from lossim._verbs import attribute, drift, stops, what_if
from lossim.configs import ParsedConfig, read_config
from lossim.curves import Curves
from lossim.estimates import Estimate
from lossim.policies import Path, Policy, PromptClass, Work
from lossim.rewards import Reward
from lossim.rollouts import Rollouts
from lossim.schemes import Scheme, compare

__all__ = [
    "Attribution",
    "Audit",
    "Curves",
    "Doubt",
    "Drift",
    "Estimate",
    "Failure",
    "Finding",
    "Fit",
    "FittedClass",
    "FittedDrift",
    "FittedTraining",
    "Forecast",
    "Goal",
    "Kernels",
    "LengthDrift",
    "NoClosedForm",
    "Outcome",
    "Pace",
    "ParsedConfig",
    "Path",
    "Policy",
    "PromptClass",
    "Result",
    "Reward",
    "Rollouts",
    "Saved",
    "Scheme",
    "Share",
    "SlotShare",
    "Stop",
    "Stops",
    "Survey",
    "Sweep",
    "Training",
    "WhatIf",
    "WhatIfs",
    "Work",
    "advantages",
    "aggregation",
    "attribute",
    "audit",
    "compare",
    "coordinates",
    "critics",
    "curves",
    "drift",
    "estimates",
    "fit",
    "forecast",
    "formulas",
    "kernel",
    "kernels",
    "length_drift",
    "lengths",
    "live",
    "load",
    "log_range",
    "optimizers",
    "pace",
    "penalties",
    "policies",
    "read_config",
    "references",
    "rewards",
    "rollouts",
    "schemes",
    "selection",
    "stops",
    "surrogates",
    "survey",
    "sweep",
    "tokens",
    "train",
    "what_if",
]
