"""Prompts as numbers, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from lossim._support.types import IntArray


class Prompts:
    """Numbers of the prompts of a run, in the order in which they came first; of each prompt eight bytes are kept.

    >>> prompts = Prompts()
    >>> prompts.of_groups([b"1+1", b"2+2", b"1+1"]), prompts.of_groups([b"3+3", b"2+2"])
    (array([0, 1, 2]), array([3, 1]))
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[bytes, int], int] = {}

    def of_groups(self, contents: Iterable[bytes]) -> IntArray:
        """A number for each group of a step; a prompt that stands twice in a step is two."""
        met: dict[bytes, int] = {}
        numbers = []
        for content in contents:
            key = hashlib.blake2b(content, digest_size=8).digest()
            met[key] = met.get(key, 0) + 1
            numbers.append(self._numbers.setdefault((key, met[key]), len(self._numbers)))
        return np.array(numbers, dtype=np.int64)
