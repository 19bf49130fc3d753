"""The slots a scheme can have, by the names ``translate`` knows, and worlds to try them on."""

from __future__ import annotations

import numpy as np

import lossim as ls
import reference as ref
import translate
from lossim import surrogates

KINDS = ("raw", "leave one out", "leave one out std", "group mean", "opo", "gae", "gae adaptive", "standardized",
         "standardized ddof 0", "batch standardized", "positive group mean", "positive opo", "whitened raw",
         "whitened group mean", "whitened gae", "whitened gae adaptive", "whitened opo", "centred gae",
         "centred leave one out")
RULES = tuple(translate.AGGREGATIONS)
TRUNCATIONS = ("keep", "mask", "remove")
SAMPLINGS = ("none", "drop", "resample")
PENALTIES = ("none", "reward", "k1", "k2", "k3", "entropy", "all")
OLD_PENALTIES = ("none", "k3", "reward", "entropy", "all", "abs", "k1+", "k3+", "corrected k1", "corrected k3",
                 "corrected abs", "old k2", "old k3+", "old corrected k2")
SURROGATES = {
    "policy gradient": (surrogates.PolicyGradient(), {"surrogate": "policy_gradient"}),
    "importance": (surrogates.ImportanceWeight(), {"surrogate": "importance_weighted"}),
    "clip": (surrogates.PPOClip(), {"surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2}),
    "clip higher": (surrogates.PPOClip(high=0.28), {"surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.28}),
    "dual": (surrogates.PPOClip(dual=1.5), {"surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "dual": 1.5}),
    "delta": (surrogates.PPOClip(low=0.1, high=0.2, delta=1.3),
              {"surrogate": "ppo_clip", "clip_low": 0.1, "clip_high": 0.2, "delta": 1.3}),
    "cispo": (surrogates.CISPO(low=0.3, high=0.4), {"surrogate": "cispo", "clip_low": 0.3, "clip_high": 0.4}),
    "sapo": (surrogates.SAPO(), {"surrogate": "sapo", "tau_positive": 1.0, "tau_negative": 1.05}),
    "gspo": (surrogates.GSPO(low=0.1, high=0.15), {"surrogate": "gspo", "clip_low": 0.1, "clip_high": 0.15}),
    "gmpo": (surrogates.GMPO(low=0.2, high=0.3), {"surrogate": "gmpo", "clip_low": 0.2, "clip_high": 0.3}),
    "topr": (surrogates.TOPR(), {"surrogate": "topr"}),
    "vespo": (surrogates.VESPO(), {"surrogate": "vespo"}),
    "off-policy mask": (surrogates.OffPolicyMask(inner=surrogates.PPOClip(), threshold=0.05),
                        {"surrogate": "ppo_clip", "clip_low": 0.2, "clip_high": 0.2, "off_policy": 0.05}),
}


def make_world(seed: int, *, max_tokens: int = 3, paths: object = 2, **options: object) -> ref.World:
    return ref.random_world(np.random.default_rng(seed), classes=2, paths=paths, max_tokens=max_tokens, reference=True,
                            **options)


def setup(seed: int, name: str, **options: object) -> tuple[ref.World, ls.Scheme, ref.Setting, dict[str, ls.Policy]]:
    world = ref.random_world(np.random.default_rng(seed), classes=2, max_tokens=options.pop("max_tokens", 3),
                             reference=True, old=True, **options.pop("world", {}))
    return (world, *translate.both(world, np.random.default_rng(seed), surrogate=SURROGATES[name], **options),
            translate.all_policies(world))
