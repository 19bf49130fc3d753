"""The trainers themselves: missing one is an error, not a reason to skip."""

from __future__ import annotations

import warnings

import torch

with warnings.catch_warnings():
    # rlax imports tensorflow_probability, which touches a name that jax is about to drop.
    warnings.filterwarnings("ignore", message="jax.core.pytype_aval_mappings is deprecated",
                            category=DeprecationWarning)
    from tests.peers import rlax_peer, trl_peer, verl_peer  # noqa: F401 (imported here so that no test runs without them)

torch.set_num_threads(1)  # rows of a few tokens: threads cost more than they save
