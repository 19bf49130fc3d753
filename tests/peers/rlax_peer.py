"""rlax 0.1.9 in float64: truncated GAE and the clipped surrogate, one response at a time."""

from __future__ import annotations

import jax
import numpy as np
import rlax
import torch

from tests.peers.rows import Rows

jax.config.update("jax_enable_x64", True)
_gae = jax.jit(rlax.truncated_generalized_advantage_estimation)
_clipped = jax.jit(jax.value_and_grad(
    lambda log_prob, old, advantages, clip: rlax.clipped_surrogate_pg_loss(
        jax.numpy.exp(log_prob - old), advantages, clip)))


def advantages(rows: Rows, *, gamma: float = 1.0, gae_lambda: float = 1.0, bootstrap_truncated: bool = False
               ) -> torch.Tensor:
    """GAE [response, t]; ``values`` has one column more than the mask, for what comes after the last token.

    A discount of 0 ends an episode; the last token of a cut response keeps its discount to bootstrap.
    """
    made = torch.zeros_like(rows.log_prob.detach())
    paid = rows.token_rewards()
    for i, row in enumerate(rows.mask):
        (at,) = torch.nonzero(row, as_tuple=True)
        if not len(at):
            continue
        discount = np.full(len(at), gamma)
        if not (bootstrap_truncated and rows.truncated[i]):
            discount[-1] = 0.0
        values = rows.values[i][[*at.tolist(), int(at[-1]) + 1]].numpy()
        made[i, at] = torch.from_numpy(np.array(_gae(paid[i, at].numpy(), discount, gae_lambda, values)))
    return made


def clipped_loss(rows: Rows, advantages: torch.Tensor, *, clip: float = 0.2) -> tuple[float, np.ndarray]:
    """Value and gradient [response, t] in log_prob of rlax's clipped surrogate, a mean over all tokens."""
    inside = rows.mask.numpy()
    value, slope = _clipped(*(x.detach().numpy()[inside] for x in (rows.log_prob, rows.old, advantages)), clip)
    gradient = np.zeros(inside.shape)
    gradient[inside] = slope
    return float(value), gradient
