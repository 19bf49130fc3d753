"""What verl's dumps say by the name of a row: ``{group}_{sample}_{part}``, or padding."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from lossim._logs.codes import digest

__all__ = ["Groups", "is_padding"]

PADDING = re.compile(r"pad[0-9a-f]{32}_[0-9]+_[0-9]+")
KEY = re.compile(r"(.+)_[0-9]+_[0-9]+", re.DOTALL)


def is_padding(key: Any) -> bool:
    """Whether a row fills the batch up to a size that can be divided; it answers no prompt."""
    return isinstance(key, str) and PADDING.fullmatch(key) is not None


class Groups:
    """Prompts whose text stands for several groups of a step: the second and further ones are told apart."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, bytes], dict[str, int]] = {}

    def told_apart(self, prompts: Iterable[Any], keys: Iterable[Any], steps: Iterable[int]) -> list[Any]:
        """The prompts; a text that another group of the step has already comes with its number."""
        result = []
        for prompt, key, step in zip(prompts, keys, steps, strict=True):
            named = KEY.fullmatch(key) if isinstance(key, str) and isinstance(prompt, str) else None
            number = 0
            if named is not None:
                groups = self._seen.setdefault((step, digest(prompt)), {})
                number = groups.setdefault(named[1], len(groups))
            result.append([prompt, number] if number else prompt)
        return result
