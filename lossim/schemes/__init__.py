"""Presets: each is a function whose body is the recipe. Change a slot with ``dataclasses.replace``.

A preset follows its paper. Trainers use some of the names for other things: docs/presets.md says which. On-policy,
where ``drift`` is called without an old policy, surrogates change nothing.

>>> from dataclasses import replace
>>> from lossim.surrogates import PPOClip
>>> replace(grpo(), surrogate=PPOClip(high=0.28))
Scheme 'grpo': GroupStandardized · PPOClip(high=0.28) · SequenceMeanTokenMean [verl seq-mean-token-mean, TRL grpo] ·
reward 1 if correct, else 0 · 64 prompts × 8
"""

from lossim.schemes._presets import (
    cispo,
    dapo,
    delta_l,
    dr_grpo,
    gmpo,
    grpo,
    gspo,
    luspo,
    opo,
    ppo,
    presets,
    reinforce_plus_plus,
    reinforce_plus_plus_baseline,
    remax,
    rloo,
    sapo,
    vapo,
)
from lossim.schemes._scheme import DynamicSampling as DynamicSampling
from lossim.schemes._scheme import Scheme, compare
from lossim.schemes._scheme import Truncation as Truncation  # for the library's own rooms
from lossim.schemes._scheme import short as short
from lossim.schemes._unsettled import Unsettled

__all__ = ["Scheme", "Unsettled", "cispo", "compare", "dapo", "delta_l", "dr_grpo", "gmpo", "grpo", "gspo",
           "luspo", "opo", "ppo", "presets", "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax", "rloo",
           "sapo", "vapo"]
