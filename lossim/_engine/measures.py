"""Responses weighed by what an update makes of them: measures over [cell, grade, end].

A measure is the probability of an end times the expected coefficient of a response that ended so, or the counts of a
batch times their own coefficients; the engine does not tell the two apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._model import CellArrays
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["EndSums", "Measures", "ResponseTerm", "Roles", "TokenSums", "TokenTerm", "by_outcome", "entries", "of_sign",
           "outcomes", "stops_of"]


class EndSums(Record):
    """Sums of a number over responses.

    Attributes:
        ended: by how they ended, [cell, grade, end].
        entered: of those that moved from one state to the next, by when they did, [move, outcome, t]; no rows where
            all paths have one state.
    """

    ended: FloatArray
    entered: FloatArray

    @classmethod
    def of_one_state(cls, ended: FloatArray) -> EndSums:
        """Sums over responses that do not change state."""
        return cls(ended=ended, entered=np.zeros((0, 3, ended.shape[-1] - 1)))


class ResponseTerm(Record):
    """One advantage per response: ``total`` sums probability × n·weight × advantage × the gain of its whole ratio.

    ``negative`` is the part of it with advantages below 0, where a surrogate treats the signs differently; else None.
    ``ungained`` is the total without that gain, [cell, grade, end]; None where there is none.
    """

    total: EndSums
    negative: EndSums | None = None
    ungained: FloatArray | None = None


class TokenTerm(Record):
    """An advantage for each token, by GAE.

    Attributes:
        weight: probability × n·weight, to be multiplied by the token advantages.
        credit: of those that changed state, the same times the advantage of the token at which they did,
            [move, outcome, t].
        reward: weight times a reward that the table of task rewards does not hold, [cell, grade, end]; None if it
            holds all.
        shift: what whitening takes off each token, times the weight: a coefficient for the whole response; or None.
        mean: [cell], what whitening takes off each token advantage, if that is the same for all responses of a cell.
        by_token: the sums by token themselves, of sampled responses that change state, where they hang on more than how
            and when: gains that read the sign of a token's advantage, or a λ that depends on the length.
    """

    weight: EndSums
    credit: FloatArray
    reward: FloatArray | None = None
    shift: EndSums | None = None
    mean: FloatArray | None = None
    by_token: TokenSums | None = None


class Measures(Record):
    """What an update makes of responses: ``credit`` for the policy term, ``weight`` for penalties.

    ``weight`` sums probability × n·weight, None without penalties in the loss.
    """

    credit: ResponseTerm | TokenTerm
    weight: EndSums | None = None

    def without_means(self) -> Measures:
        """The same without means by cell, which those of several batches do not share."""
        if isinstance(self.credit, ResponseTerm):
            return self
        return replace(self, credit=replace(self.credit, mean=None))


# --- sums by token ----------------------------------------------------------------------------------------------


class Roles(Record):
    """A number for each token by its role: the token that stops at t and the one that goes on at t, each [cell, t]."""

    stop: FloatArray
    go: FloatArray


class TokenSums(Record):
    """Sums of coefficients over responses that stop at t and that go on at t, each [cell, outcome, t]."""

    stop: FloatArray
    go: FloatArray

    def __add__(self, other: TokenSums) -> TokenSums:
        return TokenSums(stop=self.stop + other.stop, go=self.go + other.go)

    def times(self, each: Roles | None) -> TokenSums:
        """The sums times a number for each token of the same cells; None is 1."""
        if each is None:
            return self
        return TokenSums(stop=self.stop * each.stop[:, None], go=self.go * each.go[:, None])

    def gradient(self, policy: CellArrays, cells: slice) -> FloatArray:
        """g(t) = (1 - h) Σ_stop - h Σ_go in the stop logits of these cells, [cell, t]."""
        gradient = policy.stay[cells] * _over_outcomes(self.stop)
        gradient -= policy.hazard[cells] * _over_outcomes(self.go)
        return gradient

    @property
    def first(self) -> FloatArray:
        """The coefficient sum of the first token, [cell, outcome]: what the choice of the path is credited with."""
        total = self.go[:, :, 0].copy()
        total[:, : self.stop.shape[1]] += self.stop[:, :, 0]
        return total


def of_sign(x: FloatArray, sign: int) -> FloatArray:
    """Numbers above 0, or below it, and 0 for the others."""
    return np.maximum(x, 0.0) if sign > 0 else np.minimum(x, 0.0)


def by_outcome(x: FloatArray) -> FloatArray:
    """[..., grade, end] → [..., outcome, end]: the truncated column becomes an outcome of its own."""
    split = np.zeros((*x.shape[:-2], 3, x.shape[-1]))
    split[..., 0, :-1] = x[..., 0, :-1]
    split[..., 1, :-1] = x[..., 1, :-1] if x.shape[-2] == 2 else x[..., 1:, :-1].sum(axis=-2)
    split[..., 2, -1] = x[..., -1].sum(axis=-1)
    return split


def outcomes(x: FloatArray, apart: bool) -> FloatArray:
    """[..., grade, end] by outcome, or over all outcomes unless they are kept ``apart``: [..., outcome or 1, end]."""
    if apart:
        return by_outcome(x)
    return x[..., :1, :] + x[..., 1:, :] if x.shape[-2] == 2 else x.sum(axis=-2, keepdims=True)


def entries(x: FloatArray, apart: bool) -> FloatArray:
    """The same of sums over those that moved, [..., outcome, t]."""
    return x if apart else x.sum(axis=-2, keepdims=True)


def _over_outcomes(x: FloatArray) -> FloatArray:
    """[cell, outcome, t] → [cell, t]."""
    return x[:, 0] if x.shape[1] == 1 else x.sum(axis=1)


def stops_of(x: FloatArray) -> FloatArray:
    """Of numbers by outcome and end, or of all outcomes: those of the outcomes that stop, at their tokens [..., t]."""
    return x[..., :2, :-1]
