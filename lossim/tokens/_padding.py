"""Groups of a batch side by side, padded to the size of the largest."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lossim._support.records import Record
from lossim._support.types import BoolArray, IntArray

__all__ = ["Padding", "padding_of"]

Number = TypeVar("Number", np.float64, np.bool_)


class Padding(Record):
    """Where each response of a batch stands among groups [1, prompt, member]; ``member`` tells it from padding."""

    prompt: IntArray
    place: IntArray
    member: BoolArray

    def pad(self, column: NDArray[Number]) -> NDArray[Number]:
        """A number of each response, [response] → [1, prompt, member], 0 where there is none."""
        table = np.zeros(self.member.shape, dtype=column.dtype)
        table[0, self.prompt, self.place] = column
        return table

    def taken(self, table: NDArray[Number]) -> NDArray[Number]:
        """The way back, [1, prompt, member] → [response]."""
        return table[0, self.prompt, self.place]


def padding_of(group: IntArray) -> Padding:
    """The places of responses whose prompts are numbered from 0, in their order."""
    sizes = np.bincount(group)
    order = np.argsort(group, kind="stable")
    place = np.empty(len(group), dtype=np.int64)
    place[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    member = np.arange(sizes.max()) < sizes[:, None]
    return Padding(prompt=group, place=place, member=member[None])
