"""torch's own optimisers with maximize=True, its clip and the trainers' schedules, on the same gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.optim.lr_scheduler import LRScheduler
from verl.utils import torch_functional

from lossim import optimizers

SEEDS = range(15)
RATE, UPDATES, SIZE = 0.3, 12, 7
Array = np.ndarray[Any, np.dtype[np.float64]]
Schedule = Callable[[torch.optim.Optimizer], LRScheduler]


def draw(seed: int) -> Array:
    """Gradients [update, coordinate] of scales from 1e-5 to 10, with zeros; a tenth of the updates has none."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-5, 1, size=(UPDATES, 1)) * (rng.random((UPDATES, 1)) < 0.9)
    return rng.normal(size=(UPDATES, SIZE)) * scale * (rng.random((UPDATES, SIZE)) < 0.8)


def theirs(kind: type[torch.optim.Optimizer], gradients: Array, *, max_norm: float | None = None,
           schedule: Schedule | None = None, **settings: Any) -> Array:
    """Positions after each update; the coordinates are two parameters, so that the norm is over both."""
    parameters = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (3, SIZE - 3)]
    optimizer = kind(parameters, lr=RATE, maximize=True, **settings)
    rates = schedule(optimizer) if schedule else None
    passed = []
    for gradient in torch.from_numpy(gradients):
        for parameter, part in zip(parameters, gradient.split([3, SIZE - 3]), strict=True):
            parameter.grad = part.clone()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
        if rates:
            rates.step()
        passed.append(torch.cat([parameter.detach() for parameter in parameters]).clone())
    return torch.stack(passed).numpy()


def ours(optimizer: optimizers.Optimizer, gradients: Array) -> Array:
    """Positions after each update, [update, ..., coordinate]."""
    position, passed = np.zeros(gradients.shape[1:]), []
    state = optimizer.start(position.shape)
    for gradient in gradients:
        move, state = optimizer.step(state, gradient, position)
        position = position + move
        passed.append(position)
    return np.array(passed)


def same(optimizer: optimizers.Optimizer, expected: Callable[[Array], Array]) -> None:
    """All seeds, as rows of one run here and one by one there, to 1e-12 of the largest position."""
    gradients = [draw(seed) for seed in SEEDS]
    passed = ours(optimizer, np.stack(gradients, axis=1))
    for seed in SEEDS:
        wanted = expected(gradients[seed])
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(passed[:, seed], wanted, rtol=0, atol=1e-12 * max(1.0, np.abs(wanted).max()),
                                   err_msg=str(seed))


@pytest.mark.parametrize("max_norm", [None, 0.05, 1.0])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.95])
def test_sgd(momentum: float, max_norm: float | None) -> None:
    same(optimizers.SGD(learning_rate=RATE, momentum=momentum, max_norm=max_norm),
         lambda gradients: theirs(torch.optim.SGD, gradients, momentum=momentum, max_norm=max_norm))


@pytest.mark.parametrize("max_norm", [None, 0.05, 1.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(("betas", "eps"), [((0.9, 0.999), 1e-8), ((0.9, 0.95), 1e-3), ((0.0, 0.99), 1e-8),
                                            ((0.9, 0.0), 1e-5)])
def test_adamw(betas: tuple[float, float], eps: float, weight_decay: float, max_norm: float | None) -> None:
    same(optimizers.AdamW(learning_rate=RATE, betas=betas, eps=eps, weight_decay=weight_decay, max_norm=max_norm),
         lambda gradients: theirs(torch.optim.AdamW, gradients, betas=betas, eps=eps, weight_decay=weight_decay,
                                  max_norm=max_norm))


def test_defaults_are_those_of_torch_except_for_the_decay() -> None:
    same(optimizers.AdamW(learning_rate=RATE, weight_decay=0.01),
         lambda gradients: theirs(torch.optim.AdamW, gradients))
    same(optimizers.SGD(learning_rate=RATE), lambda gradients: theirs(torch.optim.SGD, gradients))


def warm_cosine(count: int) -> float:
    return optimizers.warmup(3)(count) if count < 3 else optimizers.cosine(9, last=0.1)(count - 3)


@pytest.mark.parametrize(("schedule", "peer"), [
    (optimizers.warmup(5), lambda opt: transformers.get_constant_schedule_with_warmup(opt, 5)),
    (optimizers.warmup(5), lambda opt: torch_functional.get_constant_schedule_with_warmup(opt, 5)),
    (optimizers.linear(8), lambda opt: transformers.get_linear_schedule_with_warmup(opt, 0, 8)),
    (optimizers.linear(8, last=0.25), lambda opt: torch.optim.lr_scheduler.LinearLR(opt, 1.0, 0.25, 8)),
    (optimizers.cosine(12), lambda opt: transformers.get_cosine_schedule_with_warmup(opt, 0, 12)),
    (optimizers.cosine(12, last=0.2), lambda opt: torch.optim.lr_scheduler.CosineAnnealingLR(opt, 12, 0.2 * RATE)),
    (warm_cosine, lambda opt: torch_functional.get_cosine_schedule_with_warmup(opt, 3, 12, min_lr_ratio=0.1)),
], ids=["warmup", "warmup of verl", "linear", "linear to a part", "cosine", "cosine to a part", "warmup, then cosine"])
def test_schedules(schedule: Callable[[int], float], peer: Schedule) -> None:
    same(optimizers.SGD(learning_rate=RATE, momentum=0.9, schedule=schedule),
         lambda gradients: theirs(torch.optim.SGD, gradients, momentum=0.9, schedule=peer))
    same(optimizers.AdamW(learning_rate=RATE, weight_decay=0.1, schedule=schedule),
         lambda gradients: theirs(torch.optim.AdamW, gradients, weight_decay=0.1, schedule=peer))
