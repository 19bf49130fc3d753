"""rlax's own functions, response by response: GAE with and without a bootstrap, and the clipped surrogate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import lossim as ls
from lossim import advantages as adv
from lossim import aggregation as agg
from lossim import surrogates
from tests.peers import rlax_peer
from tests.peers.ragged import batch, draw, same

SEEDS = range(30)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("gae_lambda", [1.0, 0.8, 0.0])
@pytest.mark.parametrize("bootstrap", [False, True])
def test_advantages(gamma: float, gae_lambda: float, bootstrap: bool) -> None:
    """A cut response takes the critic's value behind its last token, or 0; one that stopped always 0."""
    estimator = adv.GAE(gamma=gamma, gae_lambda=gae_lambda, bootstrap_truncated=bootstrap)
    for seed in SEEDS:
        rows = draw(seed)
        theirs = rlax_peer.advantages(rows, gamma=gamma, gae_lambda=gae_lambda, bootstrap_truncated=bootstrap)
        same(ls.tokens.advantages(estimator, batch(rows)), theirs.numpy(), case=seed)


def test_length_adaptive() -> None:
    """λ of each response, as VAPO has it: rlax on one response at a time."""
    estimator = adv.GAE(gamma=0.95, gae_lambda=adv.LengthAdaptive(alpha=0.6))
    for seed in SEEDS:
        rows = draw(seed, empty=False)
        theirs = torch.cat([
            rlax_peer.advantages(rows.part([i]), gamma=0.95, gae_lambda=max(0.0, 1.0 - 1.0 / max(0.6 * length, 1.0)))
            for i, length in enumerate(rows.mask.sum(dim=1).tolist())])
        same(ls.tokens.advantages(estimator, batch(rows)), theirs.numpy(), case=seed)


@pytest.mark.parametrize("off_policy", [True, False])
def test_clipped_surrogate(off_policy: bool) -> None:
    scheme = ls.Scheme(advantage=adv.Raw(), surrogate=surrogates.PPOClip(), aggregation=agg.TokenMean())
    for seed in SEEDS[:15]:  # rlax is compiled for every number of tokens
        rows = draw(seed, off_policy=off_policy)
        credit = torch.from_numpy(np.random.default_rng(seed).normal(size=rows.mask.shape))
        value, slope = rlax_peer.clipped_loss(replace(rows, log_prob=rows.log_prob.detach()), credit)
        ours = ls.tokens.loss(scheme, batch(rows), advantages=credit.numpy())
        same(ours.gradient, slope, case=seed)
        same(ours.loss, value, scale=float(np.abs(slope).sum()), case=seed)
