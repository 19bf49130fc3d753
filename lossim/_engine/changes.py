"""The numbers of an update: those that are linear in the gradient, those that are not, and its squares."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lossim._model import Directions, Logits, Squares
from lossim._support.records import Record

Value = Any
"""A number or an array, or an estimate of one."""


class Changes(Record):
    """Every number of an update that is linear in the gradient; each as :class:`lossim.Drift` describes it.

    But ``path_gradient`` is by path here, [path]. Ratios are made of the first seven; the others are None where nobody
    asks for them.
    """

    length: Value
    accuracy: Value
    reward: Value
    hazard_gradient: Value
    path_gradient: Value
    skill_gradient: Value
    update: Value
    within: Value = None
    composition: Value = None
    needed: Value = None
    free: Value = None
    length_by_class: Value = None
    length_by_path: Value = None
    length_by_outcome: Value = None
    path_probability: Value = None
    truncation_rate: Value = None
    sources: Value = None
    effective_reward: Value = None
    response_weight: Value = None

    @property
    def gradient(self) -> Logits:
        """The gradient in the logits."""
        return Logits(self.hazard_gradient, self.path_gradient, self.skill_gradient)

    def squares(self, directions: Directions) -> Squares:
        """How far the update goes."""
        return directions.squares(self.gradient, self.update)

    @property
    def for_ratios(self) -> Changes:
        """What ratios are made of, and nothing else."""
        return Changes(length=self.length, accuracy=self.accuracy, reward=self.reward,
                       hazard_gradient=self.hazard_gradient, path_gradient=self.path_gradient,
                       skill_gradient=self.skill_gradient, update=self.update)


class Ratios(Record):
    """The numbers that are not linear in the gradient; each as :class:`lossim.Drift` describes it."""

    length_per_kl: Value
    length_per_reward: Value
    accuracy_per_token: Value
    alignment: Value


RATIOS = tuple(each.name for each in fields(Ratios))
