"""lossim: what an RL loss does to response length, before the run.

Which way mean length goes, and how much of that buys accuracy:

>>> import lossim as ls
>>> policy = ls.policies.reasoning(accuracy=0.3, mean_right=1200, mean_wrong=900, premature=0.7, truncated=0.02,
...                                verbosity=200, max_tokens=8192)
>>> drift = ls.drift(ls.schemes.grpo(), policy)
>>> drift.verdict
'responses get longer, +77.0 tokens in a step of 0.01 nats'
>>> print(f"{float(drift.needed) / float(drift.length):.0%} of it is needed: it changes accuracy")
75% of it is needed: it changes accuracy
"""

from lossim import (
    advantages,
    aggregation,
    critics,
    curves,
    estimates,
    formulas,
    lengths,
    optimizers,
    penalties,
    policies,
    references,
    rewards,
    rollouts,
    schemes,
    surrogates,
    tokens,
)
from lossim._auditing import Audit, Finding, Stop, WhatIf, audit
from lossim._engine import Drift, Pace, drift, pace
from lossim._fitting import Fit, FittedClass, FittedDrift, FittedTraining, fit
from lossim._forecasting import Forecast, forecast
from lossim._model import coordinates, kernel
from lossim._support.types import NoClosedForm, Outcome
from lossim._training import Training, train
from lossim.configs import ParsedConfig, read_config
from lossim.curves import Curves
from lossim.estimates import Estimate
from lossim.policies import Path, Policy, PromptClass, Work
from lossim.rewards import Reward
from lossim.rollouts import Rollouts
from lossim.schemes import Scheme, compare

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "Curves",
    "Drift",
    "Estimate",
    "Finding",
    "Fit",
    "FittedClass",
    "FittedDrift",
    "FittedTraining",
    "Forecast",
    "NoClosedForm",
    "Outcome",
    "Pace",
    "ParsedConfig",
    "Path",
    "Policy",
    "PromptClass",
    "Reward",
    "Rollouts",
    "Scheme",
    "Stop",
    "Training",
    "WhatIf",
    "Work",
    "advantages",
    "aggregation",
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
    "lengths",
    "optimizers",
    "pace",
    "penalties",
    "policies",
    "read_config",
    "references",
    "rewards",
    "rollouts",
    "schemes",
    "surrogates",
    "tokens",
    "train",
]
