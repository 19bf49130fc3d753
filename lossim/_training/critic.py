"""A critic that learns while a run goes on: what it has learned is data between the steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._engine import Step
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim.advantages import GAE
from lossim.critics import Learned, Table
from lossim.schemes import Scheme

__all__ = ["Learner", "learner"]


class Learner(Record):
    """A learned critic and its values V, [..., cell, t]."""

    critic: Learned
    gae: GAE
    values: FloatArray

    def scheme(self, scheme: Scheme) -> Scheme:
        """The scheme with the values as its critic."""
        known = self.values if np.isfinite(self.values[:, -1]).all() else self.values[:, :-1]
        return replace(scheme, advantage=scheme.advantage.with_critic(Table(table=known)))

    def of_law(self, step: Step) -> Learner:
        """After one update on the law of the policy that draws."""
        mean, reached = self.critic.targets(self.values, step.critic_view(self.gae),
                                            bootstrap_truncated=self.gae.bootstrap_truncated)
        return replace(self, values=self.critic.learned(self.values, mean, reached))

    def of_batch(self, step: Step, counts: FloatArray, paid: FloatArray | None) -> Learner:
        """After one update on responses by [cell, grade, end], with the rewards that the step's table does not hold."""
        last = (counts * step.errors.last).sum(axis=1)
        if paid is not None:
            last += paid.sum(axis=1)
        mean, reached = self.critic.batch_targets(counts.sum(axis=1), step.errors.going, last, step.old.class_of_cell,
                                                  self.gae.gamma)
        return replace(self, values=self.critic.learned(self.values, mean, reached))


def learner(step: Step) -> Learner | None:
    """The step's critic with its start values, if it learns."""
    gae = step.token_level
    if gae is None or not isinstance(gae.critic, Learned):
        return None
    return Learner(critic=gae.critic, gae=gae, values=gae.critic.start_values(step.critic_view(gae)))
