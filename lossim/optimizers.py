"""Optimisers: what one update makes of an expected or sampled gradient, with the memory it keeps between updates.

An optimiser is data and holds no memory itself: ``start`` gives a state, ``step`` turns a state and a gradient into a
move and the next state. Gradients point uphill. All rows of the leading axes, replicates for example, are updated at
once and independently of each other.

Adam and the clip read the gradient coordinate by coordinate and by its norm. Coordinates that are features stand for
parameters, and these are then theirs; for a kernel given as numbers the coordinates are logits at knots, and the
gradient that arrives is already K · gradient.

>>> optimizer = SGD(learning_rate=0.5, momentum=0.9)
>>> state, position = optimizer.start((2,)), np.zeros(2)
>>> for _ in range(2):
...     move, state = optimizer.step(state, np.array([1.0, -2.0]), position)
...     position = position + move
>>> position.round(3), state.count
(array([ 1.45, -2.9 ]), 2)
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lossim._support import checks
from lossim._support.quotients import quotient
from lossim._support.types import ArrayLike, FloatArray

__all__ = ["SGD", "AdamW", "Optimizer", "Ramp", "State", "cosine", "linear", "warmup"]

NORM_EPS = 1e-6  # what torch.nn.utils.clip_grad_norm_ adds to the norm


def _below_one(name: str, value: float) -> float:
    """A number in [0, 1)."""
    number = checks.at_least(name, value, 0.0)
    if number >= 1.0:
        checks.fail(name, value, "must be below 1")
    return number


def _betas(name: str, value: Any) -> tuple[float, ...]:
    """Two numbers in [0, 1)."""
    given = checks.pair(name, value, "must be two numbers, (β₁, β₂)", 0.0)
    return tuple(_below_one(f"{name}[{i}]", beta) for i, beta in enumerate(given))


def _schedule(name: str, value: Any) -> Any:
    """A function of the count; a class is none."""
    if isinstance(value, type) or not callable(value):
        checks.fail(name, value, "must be a callable count -> factor", "for example optimizers.cosine(100)", TypeError)
    return value


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """What an optimiser remembers: ``count`` of updates done, ``shape`` [..., coordinate], and ``moments``.

    The moments are arrays of that shape: none for plain SGD, the velocity for SGD with momentum, the mean of the
    gradient and of its square for AdamW.
    """

    count: int
    shape: tuple[int, ...]
    moments: tuple[FloatArray, ...]


@dataclass(frozen=True, kw_only=True)
class Optimizer(checks.Checked, ABC):
    """Base of all optimisers: the learning rate, its schedule, and the clip of the gradient's norm.

    Attributes:
        learning_rate: η ≥ 0, coordinate per unit of gradient for SGD, coordinate per update for AdamW.
        max_norm: positive; a longer gradient g becomes g · max_norm/(‖g‖ + 1e-6), by the Euclidean norm over the last
            axis, each row on its own. None for no clip. Source: torch.nn.utils.clip_grad_norm_.
        schedule: a factor ≥ 0 on the learning rate as a callable of the number of updates done before, so 0 at the
            first, for example :func:`cosine`. None for a constant rate.
    """

    learning_rate: float
    max_norm: float | None = None
    schedule: Callable[[int], float] | None = None
    _rules: ClassVar = {"learning_rate": (checks.at_least, 0.0), "schedule": (_schedule,),
                        "max_norm": (checks.positive, "leave it at None for no clip")}

    @property
    def rescales(self) -> bool:
        """Whether the move is not linear in the gradient: a clip of its norm, or Adam."""
        return self.max_norm is not None

    @property
    @abstractmethod
    def _memories(self) -> int:
        """Number of moment arrays."""

    @abstractmethod
    def _move(self, state: State, gradient: FloatArray, position: FloatArray, rate: float
              ) -> tuple[FloatArray, tuple[FloatArray, ...]]:
        """The move and the next moments, for a clipped gradient."""

    def start(self, shape: Sequence[int]) -> State:
        """The state before the first update of gradients of this shape, [..., coordinate].

        >>> AdamW(learning_rate=0.1).start((2,)).moments
        (array([0., 0.]), array([0., 0.]))
        """
        entries = checks.members("shape", shape, numbers.Integral, "whole numbers", "use the shape of the gradient")
        sizes = tuple(checks.whole(f"shape[{i}]", size) for i, size in enumerate(entries))
        if not sizes:
            checks.fail("shape", shape, "must have at least one axis, the coordinates", "use the shape of the gradient")
        return State(count=0, shape=sizes, moments=tuple(np.zeros(sizes) for _ in range(self._memories)))

    def rate(self, count: int) -> float:
        """The learning rate of the update after ``count`` others: ``learning_rate`` · ``schedule`` (count).

        >>> [SGD(learning_rate=0.2, schedule=warmup(4)).rate(count) for count in (0, 1, 4, 9)]
        [0.0, 0.05, 0.2, 0.2]
        """
        done = checks.whole("count", count, low=0)
        if self.schedule is None:
            return float(self.learning_rate)
        return float(self.learning_rate) * checks.at_least(f"schedule({done})", self.schedule(done), 0.0)

    def step(self, state: State, gradient: ArrayLike, position: ArrayLike) -> tuple[FloatArray, State]:
        """One update: the move to add to the position, and the next state.

        Args:
            state: from ``start`` or the update before; it is left as it is.
            gradient: [..., coordinate], uphill, of the shape the state was started with.
            position: of that shape too, displacement of the coordinates from where training started.

        >>> optimizer = SGD(learning_rate=1.0, max_norm=1.0)
        >>> move, state = optimizer.step(optimizer.start((2, 2)), [[3.0, 4.0], [0.3, 0.4]], np.zeros((2, 2)))
        >>> move.round(3)
        array([[0.6, 0.8], [0.3, 0.4]])
        """
        if not isinstance(state, State) or len(state.moments) != self._memories:
            checks.fail("state", state, "must be a state of this optimiser", "begin with its start(shape)", TypeError)
        uphill = checks.number_array("gradient", gradient)
        displacement = checks.number_array("position", position)
        for name, array in (("gradient", uphill), ("position", displacement)):
            if array.shape != state.shape:
                checks.fail(name, array.shape, f"must have the shape {state.shape} that the state was started with",
                            "start again for another shape")
        if self.max_norm is not None:
            norm = np.linalg.norm(uphill, axis=-1, keepdims=True)
            uphill = uphill * np.minimum(self.max_norm / (norm + NORM_EPS), 1.0)
        move, moments = self._move(state, uphill, displacement, self.rate(state.count))
        return move, State(count=state.count + 1, shape=state.shape, moments=moments)


@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Gradient ascent, with momentum if asked for: b ← μb + g, move = ηb; without it move = ηg.

    Neither dampened nor Nesterov's. A constant gradient g under momentum μ moves ηg/(1 - μ) per update in the end.
    Source: torch.optim.SGD(maximize=True), with its defaults.

    Attributes:
        momentum: μ in [0, 1).

    >>> SGD(learning_rate=0.1)
    SGD(learning_rate=0.1, max_norm=None, schedule=None, momentum=0.0)
    """

    momentum: float = 0.0
    _rules: ClassVar = Optimizer._rules | {"momentum": (_below_one,)}

    @property
    def _memories(self) -> int:
        return 1 if self.momentum else 0

    def _move(self, state: State, gradient: FloatArray, position: FloatArray, rate: float
              ) -> tuple[FloatArray, tuple[FloatArray, ...]]:
        if not self.momentum:
            return rate * gradient, ()
        velocity = self.momentum * state.moments[0] + gradient
        return rate * velocity, (velocity,)


@dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay, at update n = 1, 2, ... with gradient g and displacement x.

    m ← β₁m + (1 - β₁)g, v ← β₂v + (1 - β₂)g², move = η · m̂/(√v̂ + eps) - η · weight_decay · x, with
    m̂ = m/(1 - β₁ⁿ) and v̂ = v/(1 - β₂ⁿ). So the first move is η · g/(|g| + eps), the sign of the gradient times η. The
    decay pulls towards where training started, not towards parameters of 0. Source: torch.optim.AdamW(maximize=True),
    with its defaults except for the weight decay, which is 0.01 there.

    Attributes:
        betas: (β₁, β₂), each in [0, 1).
        eps: ≥ 0, in units of the gradient; at 0 a coordinate that never had a gradient does not move.
        weight_decay: ≥ 0.

    >>> optimizer = AdamW(learning_rate=0.1, weight_decay=0.5)
    >>> move, state = optimizer.step(optimizer.start((3,)), np.array([2.0, -0.001, 0.0]), np.array([0.0, 0.0, 1.0]))
    >>> move.round(3)
    array([ 0.1 , -0.1 , -0.05])
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    _rules: ClassVar = Optimizer._rules | {
        "betas": (_betas,), "eps": (checks.at_least, 0.0), "weight_decay": (checks.at_least, 0.0)}

    @property
    def rescales(self) -> bool:
        return True

    @property
    def _memories(self) -> int:
        return 2

    def _move(self, state: State, gradient: FloatArray, position: FloatArray, rate: float
              ) -> tuple[FloatArray, tuple[FloatArray, ...]]:
        first, second = self.betas
        n = state.count + 1
        # Running means of the gradient and of its square, and what they would be had they not begun at 0.
        mean = first * state.moments[0] + (1.0 - first) * gradient
        square = second * state.moments[1] + (1.0 - second) * gradient**2
        scale = np.sqrt(square / (1.0 - second**n)) + self.eps
        ascent = quotient(mean / (1.0 - first**n), scale)
        return rate * ascent - rate * self.weight_decay * position, (mean, square)


@dataclass(frozen=True, kw_only=True)
class Ramp(checks.Checked):
    """A schedule: the factor goes from ``first`` to ``last`` in ``steps`` updates and stays there.

    With x = min(count/steps, 1) and w = 1 - x, or (1 + cos πx)/2 if ``smooth``, it is w · first + (1 - w) · last.

    Attributes:
        steps: ≥ 1; the factor is ``last`` from the update after that many on.
        first, last: ≥ 0.
        smooth: half a cosine instead of a line.

    >>> [Ramp(steps=4, first=1.0, last=0.5, smooth=False)(count) for count in (0, 2, 4, 6)]
    [1.0, 0.75, 0.5, 0.5]
    """

    steps: int
    first: float
    last: float
    smooth: bool
    _rules: ClassVar = {"steps": (checks.whole, 1, "leave the schedule at None for a constant rate"),
                        "first": (checks.at_least, 0.0), "last": (checks.at_least, 0.0), "smooth": (checks.flag,)}

    def __call__(self, count: int) -> float:
        """The factor after ``count`` updates."""
        done = min(checks.whole("count", count, low=0) / self.steps, 1.0)
        weight = 0.5 * (1.0 + math.cos(math.pi * done)) if self.smooth else 1.0 - done
        return float(weight * self.first + (1.0 - weight) * self.last)


def warmup(steps: int) -> Ramp:
    """The factor min(count/steps, 1): 0 at the first update, 1 after ``steps`` (≥ 1) of them.

    Source: get_constant_schedule_with_warmup of transformers and verl, whose first update does not move either. Any
    callable is a schedule, so a warmup before a decay is a line:

    >>> decay = cosine(8)
    >>> schedule = lambda count: warmup(2)(count) if count < 2 else decay(count - 2)
    >>> [round(schedule(count), 3) for count in (0, 1, 2, 6, 10)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    return Ramp(steps=steps, first=0.0, last=1.0, smooth=False)


def cosine(steps: int, last: float = 0.0) -> Ramp:
    """The factor last + (1 - last)(1 + cos(π · count/steps))/2, and ``last`` (≥ 0) after ``steps`` (≥ 1) updates.

    Source: torch.optim.lr_scheduler.CosineAnnealingLR, held at its end.

    >>> [round(cosine(4, last=0.2)(count), 3) for count in range(6)]
    [1.0, 0.883, 0.6, 0.317, 0.2, 0.2]
    """
    return Ramp(steps=steps, first=1.0, last=last, smooth=True)


def linear(steps: int, last: float = 0.0) -> Ramp:
    """The factor 1 - (1 - last) · count/steps, and ``last`` (≥ 0) after ``steps`` (≥ 1) updates.

    Source: torch.optim.lr_scheduler.LinearLR; with ``last=0`` over all updates of a run, the default of TRL's trainers.

    >>> [linear(4)(count) for count in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return Ramp(steps=steps, first=1.0, last=last, smooth=False)
