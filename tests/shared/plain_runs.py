"""Sampled runs against plain ones: each update is the plain reference's, on the responses that were drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

import lossim as ls
import reference as ref
import translate
from lossim import optimizers
from tables import SURROGATES
from tape import Reader, Tape, world_of

RATE = 0.3
ONCE = optimizers.SGD(learning_rate=RATE)


class Rollout(ref.Step):
    """The reference with what it takes of a whole step from the rollout, which a mini-batch is a part of."""

    whole: list[float] | None = None
    totals: list[float] | None = None

    def wrapped(self, given: list[list[list[float]]]) -> list[list[list[float]]]:
        if not self.setting.wrappers or self.setting.wrappers == ["positive_only"]:
            return super().wrapped(given)
        if self.whole is None:
            self.whole = [x for group in given for row in group for x in row]
        (wrapper,), scale = self.setting.wrappers, 1.0
        if wrapper == "whiten":
            spread = ref.deviation(self.whole, self.setting.whiten_ddof)
            scale = (spread**2 + self.setting.whiten_eps) ** -0.5
        return [[[(x - ref.mean(self.whole)) * scale for x in row] for row in group] for group in given]

    def response_advantage(self, f: Any, group: Any, step_totals: Any) -> float:
        if self.totals is None:
            self.totals = list(step_totals)
        return super().response_advantage(f, group, self.totals)


def plain_run(world: ref.World, setting: ref.Setting, start: ls.Policy, rollouts: list[list[ref.Group]],
              orders: list[list[np.ndarray]]) -> np.ndarray:
    """Coordinates after each rollout of one replicate: SGD, one optimiser step after the other."""
    position, places = np.zeros(start.motion.size), [np.zeros(start.motion.size)]
    for groups, parts in zip(rollouts, orders, strict=True):
        old = start.moved(position)
        rollout = Rollout(world_of(world, old, old), replace(setting, prompts_per_step=len(groups)))
        rollout.add(ref.zero(world), 1.0, groups)
        for part in parts:
            now = world_of(world, start.moved(position), old)
            step, total, skill = Rollout(now, setting), ref.zero(world), [0.0] * world.cells
            step.whole, step.totals = rollout.whole, rollout.totals
            batch = [groups[g] for g in part]
            step.add(total, 1.0, batch)
            if start.motion.skill_scale:
                step.add_skill(skill, 1.0, batch)
            position = position + RATE * pulled(start, world, total, skill)
        places.append(position)
    return np.array(places)


def pulled(start: ls.Policy, world: ref.World, update: ref.Update, skill: list[float] | None = None) -> np.ndarray:
    """An update of logits in coordinates."""
    stops, first = np.split(translate.flat(world, update), [start.logits.size])
    learned = np.zeros(len(start.logits)) if skill is None else np.array(skill)
    return start.motion.pull(stops.reshape(start.logits.shape), first, learned)


def check(seed: int, kind: str, *, name: str = "clip", steps: int = 1, inner: tuple[int, int], replicates: int = 2,
          worlds: dict[str, Any] | None = None, skill_scale: float = 0.0, **options: Any) -> None:
    """A run against the plain one, on the responses that its random numbers give in plain loops."""
    world = ref.random_world(np.random.default_rng(seed), **{"classes": 2, "max_tokens": 3, "reference": True,
                                                             "zero_one": 0.1} | (worlds or {}))
    scheme, setting = translate.both(world, np.random.default_rng(seed), kind=kind, surrogate=SURROGATES[name],
                                     **options)
    scheme = replace(scheme, minibatches=inner[0], ppo_epochs=inner[1])
    policy, reference = translate.policies(world)
    policy = replace(policy, coordinates=replace(policy.coordinates, skill_scale=skill_scale))
    tape = Tape(seed)
    run = ls.train(scheme, policy, steps=steps, optimizer=ONCE, method="stochastic", reference=reference,
                   replicates=replicates, rng=tape)
    taken = ref.Step(world, setting).taken
    reader, rollouts, orders = Reader(tape, scheme), [], []
    for step in range(steps):
        drawing = [run.policy_at(step, replicate=r) for r in range(replicates)]
        rollouts.append(reader.rollout([world_of(world, old, old) for old in drawing], taken))
        orders.append(reader.orders(replicates))
    assert reader.finished()
    assert [len(parts) for parts in orders] == [inner[0] * inner[1]] * steps
    for r in range(replicates):
        truth = plain_run(world, setting, policy, [groups[r] for groups in rollouts],
                          [[part[r] for part in parts] for parts in orders])
        np.testing.assert_allclose(run.coordinates[:, r], truth, rtol=1e-9, atol=1e-9 * max(1e-2, np.abs(truth).max()),
                                   err_msg=f"{seed} {kind} {name} {options}")
