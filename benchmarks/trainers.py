"""lossim beside the trainers' own code, where that is installed: verl's GAE and loss, rlax's GAE under jit.

    python -m benchmarks.trainers           a table
    python -m benchmarks.trainers --json    the same as JSON, for publish.py

Two comparisons, in float64: token-level GAE over a padded batch, and the gradient of one batch in the hazard and path
logits. All sides must give the same numbers, to 1e-10. They take turns, round by round, and the best time of each
counts: CPU seconds of all threads, and seconds on the clock. numpy and torch run one thread, XLA as many as it likes.
"""

from __future__ import annotations

import json
import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any
from unittest.mock import patch

import numpy as np

import benchmarks.conftest  # noqa: F401 - one thread

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # rlax's dependencies use names that jax is about to drop
    import jax  # type: ignore[import-not-found]
    import rlax  # type: ignore[import-not-found]
import torch  # type: ignore[import-not-found]
from verl.trainer.ppo import core_algos  # type: ignore[import-not-found]
from verl.workers.config import ActorConfig  # type: ignore[import-not-found]

import lossim as ls
from benchmarks import peers
from benchmarks.test_batches import GROUP, by_lossim, one_batch

ROUNDS = 6
GAE_SHAPE = (2048, 4096)
GAE_LAMBDA = 0.95
BATCHES = ((256, 4096), (1024, 4096))
"""Responses and max_tokens of the batches whose gradient is taken."""
RTOL = 1e-10

jax.config.update("jax_enable_x64", True)
torch.set_num_threads(1)


def in_turns(sides: Mapping[str, Callable[[], Any]]) -> dict[str, dict[str, float]]:
    """Best CPU seconds and best seconds on the clock of each side; the first round warms up."""
    best = {name: {"cpu": float("inf"), "clock": float("inf")} for name in sides}
    for attempt in range(ROUNDS + 1):
        for name, side in sides.items():
            cpu, clock = time.process_time(), time.perf_counter()
            side()
            taken = {"cpu": time.process_time() - cpu, "clock": time.perf_counter() - clock}
            if attempt > 0:
                best[name] = {kind: min(best[name][kind], taken[kind]) for kind in taken}
    return best


def agree(what: str, truth: peers.Floats, *others: peers.Floats) -> None:
    """Equal to 1e-10 of the largest number, or the times say nothing."""
    for other in others:
        np.testing.assert_allclose(other, truth, rtol=RTOL, atol=RTOL * np.abs(truth).max(), err_msg=what)


# --- token-level GAE ---------------------------------------------------------------------------------------------


def gae() -> dict[str, Any]:
    """One padded batch with a reward at each last token and a critic's values, through every GAE."""
    responses, max_tokens = GAE_SHAPE
    rng = np.random.default_rng(0)
    _, _, _, drawn = one_batch("grpo", responses, max_tokens)
    mask = np.arange(max_tokens) < drawn.length[:, None]
    values = np.where(mask, rng.uniform(size=GAE_SHAPE), 0.0)
    reward = np.zeros(GAE_SHAPE)
    reward[np.arange(responses), drawn.length - 1] = drawn.reward

    batch = ls.tokens.Batch(mask=mask, reward=drawn.reward, group=np.arange(responses) // GROUP, values=values)
    estimator = ls.advantages.GAE(gamma=1.0, gae_lambda=GAE_LAMBDA)
    behind = np.zeros((responses, 1))
    given = (reward, np.hstack([mask[:, 1:], behind]), np.hstack([values, behind]))  # a discount of 0 ends a response
    rows = [jax.numpy.asarray(x) for x in given]
    columns = [jax.numpy.asarray(np.ascontiguousarray(x.T)) for x in given]
    by_row, by_column = (jax.jit(jax.vmap(rlax_gae, in_axes=axis, out_axes=axis)) for axis in (0, 1))
    tensors = [torch.from_numpy(x) for x in (reward, values, mask.astype(np.float64))]
    sides: dict[str, Callable[[], Any]] = {
        "lossim": lambda: ls.tokens.advantages(estimator, batch),
        "rlax": lambda: by_row(*rows).block_until_ready(),
        "rlax, time first": lambda: by_column(*columns).block_until_ready(),
        "verl": lambda: core_algos.compute_gae_advantage_return(*tensors, 1.0, GAE_LAMBDA)[0],
    }
    with patch.object(core_algos.verl_F, "masked_whiten", lambda x, mask: x):  # verl always whitens; the others do not
        lossim, one, other, verl = (side() for side in sides.values())
        agree("GAE", lossim, np.asarray(one), np.asarray(other).T, verl.numpy() * mask)
        return {"responses": responses, "max_tokens": max_tokens, "gae_lambda": GAE_LAMBDA,
                "seconds": in_turns(sides)}


def rlax_gae(reward: Any, discount: Any, values: Any) -> Any:
    """rlax's GAE of one response."""
    return rlax.truncated_generalized_advantage_estimation(reward, discount, GAE_LAMBDA, values)


# --- the gradient of one batch -----------------------------------------------------------------------------------


def gradient(responses: int, max_tokens: int) -> dict[str, Any]:
    """GRPO's update by one batch, from how its responses ended to every hazard logit [cell, t] and path logit [cell].

    verl is timed to the logits, and apart from that to the log probabilities of the tokens, a model's output.
    """
    step, draws, tables, batch = one_batch("grpo", responses, max_tokens)
    logits = torch.logit(torch.from_numpy(tables.hazard)).requires_grad_()
    paths = torch.log(torch.from_numpy(tables.probability)).requires_grad_()
    padded = Padded(tables, batch)
    log_prob = padded.log_prob(logits, paths).detach().requires_grad_()

    def by_verl() -> peers.Gradient:
        logits.grad = paths.grad = None
        padded.loss(padded.log_prob(logits, paths)).backward()
        return -logits.grad.numpy(), -paths.grad.numpy()

    def to_log_prob() -> None:
        log_prob.grad = None
        padded.loss(log_prob).backward()

    for what, mine, other in zip(("stops", "paths"), by_lossim(step, draws), by_verl(), strict=True):
        agree(what, mine, other)
    return {"responses": responses, "max_tokens": max_tokens, "tokens": int(batch.length.sum()),
            "seconds": in_turns({"lossim": lambda: by_lossim(step, draws), "verl": by_verl,
                                 "verl, to log-probs": to_log_prob})}


class Padded:
    """A batch as verl's trainer holds it: tensors [response, t] up to the longest response."""

    def __init__(self, tables: peers.Tables, batch: peers.Batch) -> None:
        position, length = np.arange(batch.length.max()), batch.length[:, None]
        ends = position == length - 1
        self.cell = torch.from_numpy(batch.cell)
        self.class_of_cell = torch.from_numpy(tables.class_of_cell)
        self.stops = torch.from_numpy(ends & ~batch.cut[:, None])
        self.mask = torch.from_numpy((position < length).astype(np.float64))
        self.paid = torch.from_numpy(np.where(ends, batch.reward[:, None], 0.0))
        self.group = np.arange(len(batch.length)) // batch.group_size
        self.config = ActorConfig(strategy="fsdp", rollout_n=1, use_dynamic_bsz=True)

    def log_prob(self, logits: Any, paths: Any) -> Any:
        """log h or log (1 - h) of each token; the first one carries that of its path."""
        logits = logits[:, :self.mask.shape[1]]
        log_stop, log_go = (torch.nn.functional.logsigmoid(z).index_select(0, self.cell) for z in (logits, -logits))
        whole = torch.zeros(int(self.class_of_cell.max()) + 1, dtype=paths.dtype)
        log_path = paths - whole.index_add(0, self.class_of_cell, paths.exp()).log()[self.class_of_cell]
        first = torch.nn.functional.pad(log_path[self.cell, None], (0, self.mask.shape[1] - 1))
        return torch.where(self.stops, log_stop, log_go) + first

    def loss(self, log_prob: Any) -> Any:
        """verl's GRPO advantages, clipped surrogate and mean over responses of means over tokens; on-policy."""
        advantage, _ = core_algos.compute_grpo_outcome_advantage(self.paid, self.mask, self.group)
        loss, _ = core_algos.compute_policy_loss_vanilla(log_prob.detach(), log_prob, advantage, self.mask,
                                                         "seq-mean-token-mean", self.config)
        return loss


# -----------------------------------------------------------------------------------------------------------------


def measure() -> dict[str, Any]:
    """Everything, as plain values."""
    names = ("numpy", "scipy", "torch", "verl", "jax", "rlax")
    return {"versions": {"Python": platform.python_version()} | {name: version(name) for name in names},
            "gae": gae(), "gradients": [gradient(*size) for size in BATCHES]}


def main() -> None:
    found = measure()
    if "--json" in sys.argv[1:]:
        print(json.dumps(found))
        return
    print(", ".join(f"{name} {number}" for name, number in found["versions"].items()))
    for what, one in (("GAE", found["gae"]), *(("gradient", one) for one in found["gradients"])):
        print(f"{what}: {one['responses']:,} responses, max_tokens {one['max_tokens']:,}")
        own = one["seconds"]["lossim"]
        for name, taken in one["seconds"].items():
            print(f"  {name:<20}" + "".join(f"{kind} {1e3 * t:8.1f} ms ({t / own[kind]:6.1f})   "
                                            for kind, t in taken.items()))


if __name__ == "__main__":
    main()
