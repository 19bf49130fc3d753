"""Ways that a run can go: the flow of the model from one start under several kernels, by a clock that nobody knows.

Plain gradient ascent with a small learning rate η is the flow dθ/ds = g(θ) at s = η · step. So a start and a kernel
have one way, whatever the rate, and the rate says how fast it is walked. The way is followed once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lossim._engine import Question
from lossim._model import Directions, Features
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim._training import MeanField, Recorder
from lossim.optimizers import SGD
from lossim.policies import Policy
from lossim.schemes import Scheme

ARC = 0.1
"""Length of a piece of a way, √nats."""
AHEAD, BACK = 1.5, 0.3
"""How far ways are followed from the start, √nats: beyond a nat or two a model of first order means little."""
LONGER = 4.0
"""A piece takes at most so many times the s of the one before."""
PATH_SCALE, SPREAD = 3.0, 1.2
"""Prior of path_scale: log-normal about what a small network had, within a factor of e^1.2."""
SHARINGS = ((0.5, 0.5), (0.9, 0.5))
SKILLS = ((0.0, 0.5), (0.6, 0.3), (2.5, 0.2))
"""Sharing (of paths and of classes alike) and skill_scale that are tried, with their prior chances."""
NODES = ((-1.2, 0.3), (0.0, 0.4), (1.2, 0.3))
"""Log path_scale in units of its spread, with prior chances near those of a normal law."""
MOST_LOGITS = 1 << 15
"""Stop logits of a start beyond which fewer kernels are tried."""


class Way(Record):
    """The numbers of the model along its flow, [point]; ``time`` is s, increasing through 0 at the start.

    ``nats`` is ½ g·K·I·K·g at the start, KL per response of a step η = 1, ``prior`` the chance of this kernel before
    any step is seen.
    """

    time: FloatArray
    length: FloatArray
    accuracy: FloatArray
    kl: FloatArray
    nats: float
    prior: float
    kernel: str
    path_scale: float
    skill_scale: float


def kernels(policy: Policy) -> list[tuple[Policy, float]]:
    """The start in each of the coordinates that are tried, with prior chances; itself alone where a kernel is known."""
    given = policy.coordinates
    if not isinstance(given, Features):
        return [(policy, 1.0)]
    chances = policy.arrays.correctness
    learns = bool(np.any(chances * (1.0 - chances) > 0))
    skills = SKILLS if learns else ((0.0, 1.0),)
    several = policy.layout.paths > 1
    shared = [((given.sharing, given.class_sharing), 1.0)]
    if several and policy.arrays.logits.size <= MOST_LOGITS:
        shared = [((each, each), chance) for each, chance in SHARINGS]
    choices = any(len(prompts.paths) > 1 for prompts in policy.classes)
    nodes = NODES if choices else ((0.0, 1.0),)
    made = []
    for ((sharing, across), p), (skill, q), (node, r) in itertools.product(shared, skills, nodes):
        scale = PATH_SCALE * float(np.exp(SPREAD * node))
        tried = replace(given, sharing=sharing, class_sharing=across, skill_scale=skill, path_scale=scale)
        made.append((policy.in_coordinates(tried), p * q * r))
    return made


def ways(scheme: Scheme, policy: Policy) -> Iterator[Way | None]:
    """The way under each kernel; None where the model moves nothing."""
    for tried, prior in kernels(policy):
        yield _way(scheme, tried, prior)


def _way(scheme: Scheme, policy: Policy, prior: float) -> Way | None:
    """The way back and ahead from a start."""
    walker = _Walker(scheme, policy)
    if not walker.unit > 0:
        return None
    back = walker.walk(-1.0, BACK)
    points = [*back[:0:-1], *walker.walk(1.0, AHEAD)]
    if len(points) < 2:
        return None
    columns = [np.array(column) for column in zip(*points, strict=True)]
    time, length, accuracy, kl = columns
    given = policy.coordinates
    path_scale = given.path_scale if isinstance(given, Features) else np.nan
    skill_scale = given.skill_scale if isinstance(given, Features) else np.nan
    return Way(time=time, length=length, accuracy=accuracy, kl=kl, nats=walker.unit, prior=prior,
               kernel=repr(given) if isinstance(given, Features) else "the kernel given", path_scale=path_scale,
               skill_scale=skill_scale)


Point = tuple[float, float, float, float]


class _Walker:
    """Follows the flow from a start by pieces of equal length in √nats, in the second order of Adams and Bashforth.

    θ' = θ + d · (g + (d/2d₀)(g - g₀)) for pieces of d and, before it, d₀ in s.
    """

    def __init__(self, scheme: Scheme, policy: Policy) -> None:
        self.recorder = Recorder(Question(scheme=scheme, policy=policy, old=policy, reference=policy).step)
        self.run = MeanField(policy.motion, SGD(learning_rate=1.0), self.recorder, ())
        self.origin = self.run.coordinates
        self.first = self._velocity()
        self.unit = self._nats(self.first)

    def walk(self, sign: float, farthest: float) -> list[Point]:
        """The points of the way in one direction, the start first, until it is long enough or cannot go on."""
        self._stand(self.origin)
        points = [self._point(0.0)]
        velocity = before = self.first
        time = piece = walked = 0.0
        while walked < farthest:
            nats = self._nats(velocity)
            if not nats > 0:
                break
            wanted = ARC / np.sqrt(nats)
            longer = min(wanted, LONGER * piece) if piece else wanted / LONGER  # the first has no bend
            bend = longer / (2.0 * piece) if piece else 0.0
            self._stand(self.run.coordinates + sign * longer * (velocity + bend * (velocity - before)))
            piece = longer
            walked += piece * float(np.sqrt(nats))
            time += piece
            try:
                before, velocity = velocity, self._velocity()
                points.append(self._point(sign * time))
            except (ValueError, ArithmeticError):  # nothing is left that moves, or too much
                break
        return points

    def _stand(self, coordinates: FloatArray) -> None:
        self.run.coordinates = coordinates
        self.run.current = None

    def _velocity(self) -> FloatArray:
        return self.run.inner_steps * self.run.pulled(self.run.update(self.run.step()))

    def _nats(self, velocity: FloatArray) -> float:
        return float(Directions(policy=self.run.policy, motion=self.run.motion).nats(velocity))

    def _point(self, time: float) -> Point:
        state = self.recorder.state(self.run.policy, self.run.coordinates, None)
        return time, float(state.length), float(state.accuracy), float(state.kl_to_start)
