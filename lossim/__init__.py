"""lossim: what an RL loss does to response length, before the run.

>>> import lossim as ls
>>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=300),
...                                wrong=ls.lengths.geometric(mean=500), max_tokens=4096)
>>> ls.drift(ls.schemes.grpo(), policy).verdict
'responses get shorter, -20.3 tokens in a step of 0.01 nats'
"""

from lossim import (
    advantages,
    aggregation,
    critics,
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
from lossim._engine import Drift, drift
from lossim._fitting import Fit, FittedClass, FittedDrift, FittedTraining, fit
from lossim._model import coordinates, kernel
from lossim._support.types import NoClosedForm, Outcome
from lossim._training import Training, train
from lossim.configs import ParsedConfig, read_config
from lossim.estimates import Estimate
from lossim.policies import Path, Policy, PromptClass, Work
from lossim.rewards import Reward
from lossim.rollouts import Rollouts
from lossim.schemes import Scheme, compare

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "Drift",
    "Estimate",
    "Finding",
    "Fit",
    "FittedClass",
    "FittedDrift",
    "FittedTraining",
    "NoClosedForm",
    "Outcome",
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
    "drift",
    "estimates",
    "fit",
    "formulas",
    "kernel",
    "lengths",
    "optimizers",
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
