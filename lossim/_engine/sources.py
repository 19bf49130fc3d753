"""What adds up to the change of mean length: by cell, outcome, role of the token and term of the update."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lossim._engine.gradients import TERMS, token_sums
from lossim._engine.measures import EndSums, Measures, ResponseTerm, Roles, TokenSums
from lossim._engine.step import Step
from lossim._model import Logits
from lossim._support.positions import before
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray

__all__ = ["ROLES", "sources"]

ROLES = ("stop", "go on", "path")


class Scores(Record):
    """What a unit of coefficient on a token adds to dE[T], of some cells.

    ``stop`` and ``go`` [cell, t] by its role, ``path`` [cell] by the choice of the path that comes with the first.
    """

    stop: FloatArray
    go: FloatArray
    path: FloatArray

    def of_tokens(self, sums: TokenSums) -> FloatArray:
        """What coefficients of tokens add up to, [cell, outcome, role]."""
        first = sums.first
        stop = np.zeros_like(first)
        stop[:, :sums.stop.shape[1]] = np.einsum("cet,ct->ce", sums.stop, self.stop)
        return np.stack([stop, np.einsum("cet,ct->ce", sums.go, self.go), first * self.path[:, None]], axis=-1)

    def of_responses(self, ended: FloatArray, each: Roles | None) -> FloatArray:
        """The same of coefficients of responses that never change state, [cell, grade, end], times those of tokens.

        A response that ended at T adds the score of its stop and Σ_{t<T} those of going on: no sum by token is needed.
        """
        stop, go = self.stop, self.go
        at_first: tuple[FloatArray | float, FloatArray | float] = (1.0, 1.0)
        if each is not None:
            stop, go = stop * each.stop, go * each.go
            at_first = (each.stop[:, :1], each.go[:, :1])
        so_far = before(go)
        stopped = ended[:, :, :-1]
        first = stopped[:, :, 0] * at_first[0] + stopped[:, :, 1:].sum(axis=-1) * at_first[1]
        by_grade = np.stack([np.einsum("cge,ce->cg", stopped, stop), np.einsum("cge,ce->cg", stopped, so_far[:, :-1]),
                             first * self.path[:, None]], axis=-1)
        cut = ended[:, :, -1].sum(axis=1)
        going = np.broadcast_to(at_first[1], (len(cut), 1))[:, 0]
        at_cap = np.stack([np.zeros_like(cut), cut * so_far[:, -1], cut * going * self.path], axis=-1)
        return np.stack([by_grade[:, 0], by_grade[:, 1:].sum(axis=1), at_cap], axis=1)


def sources(step: Step, measures: Measures, ahead: Logits, along_path: FloatArray) -> FloatArray:
    """What an update adds to dE[T] by [cell, outcome, role, term], block by block of cells.

    ``ahead`` is what a unit of gradient in each logit does to mean length, ``along_path`` [cell] that of the path.
    """
    policy = step.policy
    table = np.zeros((policy.layout.cells, 3, len(ROLES), len(TERMS)))
    for cells in policy.layout.blocks:
        scores = Scores(stop=policy.stay[cells] * ahead.stops[cells], go=-policy.hazard[cells] * ahead.stops[cells],
                        path=along_path[cells])
        if len(policy.arrival) or not isinstance(measures.credit, ResponseTerm) or step.scheme.entropy is not None:
            for term, part in token_sums(step, measures, cells).present:
                table[cells, :, :, term] = scores.of_tokens(part)
        else:
            for term, sums, each in _of_responses(step, measures, measures.credit, cells):
                table[cells, :, :, term] += scores.of_responses(sums.ended[cells], each)
    return table


def _of_responses(step: Step, measures: Measures, credit: ResponseTerm, cells: slice
                  ) -> Iterator[tuple[int, EndSums, Roles | None]]:
    """The terms of an update: which, coefficients of responses, and what tokens of some cells have beside them."""
    yield 0, credit.total, step.gains(+1, cells)
    if credit.negative is not None:
        yield 0, mapped(np.negative, credit.negative), step.gains(+1, cells)
        yield 0, credit.negative, step.gains(-1, cells)
    if measures.weight is not None and step.kl_slope is not None:
        yield 1, measures.weight, mapped(lambda x: x[cells], step.kl_slope)
