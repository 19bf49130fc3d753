"""What each surrogate maximises, written down as an objective; the oracle has the gains only."""

from __future__ import annotations

import math

from reference import Setting
from reference_cases import of_everything


# name: setting, and the objective of one response. It is given the logs of the ratios, their values at the point of
# differentiation (what a stop-gradient sees), and the advantages; each token's term is to be averaged.
def clip(x, low, high):
    return min(max(x, low), high)


def ppo(r, a):
    return min(r * a, clip(r, 0.7, 1.4) * a)


def tokenwise(objective):
    return lambda logs, _, advantages: [objective(math.exp(x), a) for x, a in zip(logs, advantages, strict=True)]


def cispo_objective(logs, at, advantages):
    return [clip(math.exp(y), 0.7, 1.4) * a * x for x, y, a in zip(logs, at, advantages, strict=True)]


def sapo_objective(r, a):
    tau = 2.0 if a > 0 else 3.0
    return 4 / tau / (1 + math.exp(-tau * (r - 1))) * a


def gspo_objective(logs, at, advantages):
    """The token form: s_t = sg(s) * probability / sg(probability)."""
    s = math.prod(math.exp(y) for y in at) ** (1 / len(at))
    tokens = [s * math.exp(x - y) for x, y in zip(logs, at, strict=True)]
    return [ppo(s_t, a) for s_t, a in zip(tokens, advantages, strict=True)]


def gmpo_objective(logs, _, advantages):
    """Bounds exp(0.4) and exp(-0.3); one advantage for all tokens, so each has the same share of the objective."""
    a = advantages[0]
    bounded = [min(math.exp(x), math.exp(0.4)) if a > 0 else max(math.exp(x), math.exp(-0.3)) for x in logs]
    return [math.prod(bounded) ** (1 / len(bounded)) * a] * len(logs)


BOUNDS = dict(clip_low=0.3, clip_high=0.4)
OBJECTIVES = {
    "policy_gradient": (dict(), lambda logs, _, advantages: [x * a for x, a in zip(logs, advantages, strict=True)]),
    "importance_weighted": (dict(), tokenwise(lambda r, a: r * a)),
    "ppo_clip": (BOUNDS, tokenwise(ppo)),
    "ppo_clip dual": (BOUNDS | dict(dual=3.0), tokenwise(lambda r, a: max(ppo(r, a), 3.0 * a) if a < 0 else ppo(r, a))),
    "ppo_clip delta": (
        BOUNDS | dict(delta=2.0),
        tokenwise(lambda r, a: min(min(r, 2.0) * a, clip(r, 0.7, 1.4) * a)),
    ),
    # an upper bound below 1 + high acts at positive advantages as well
    "ppo_clip low delta": (
        BOUNDS | dict(delta=1.2),
        tokenwise(lambda r, a: min(min(r, 1.2) * a, clip(r, 0.7, 1.2) * a)),
    ),
    "cispo": (BOUNDS, cispo_objective),
    "sapo": (dict(tau_positive=2.0, tau_negative=3.0), tokenwise(sapo_objective)),
    "gspo": (BOUNDS, gspo_objective),
    "gmpo": (BOUNDS, gmpo_objective),
}


def surrogate(name, **setting):
    return Setting(reward=of_everything, surrogate=name.split()[0], **OBJECTIVES[name][0], **setting)
