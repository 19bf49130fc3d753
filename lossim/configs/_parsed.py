"""What ``read_config`` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from textwrap import wrap
from typing import Any, NamedTuple

from lossim._engine import describe_scheme
from lossim._support.text import Columns, Note, Sections, page
from lossim.rewards import Reward
from lossim.schemes import Scheme, short

WIDTH = 44  # characters of a value in print
DEEPEST = 60  # levels of a value as plain values; what holds itself has more


class Entry(NamedTuple):
    """A setting, its value, and what there is to say of it."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True, kw_only=True)
class ParsedConfig:
    """A trainer's config as a scheme, with what became of every setting.

    Attributes:
        scheme: what the config says the loss is.
        trainer, version, algorithm: whose config it is; defaults are those of that version.
        max_tokens: most tokens of a response; None where the config does not say.
        read: settings given that the scheme depends on.
        assumed: settings it depends on that were not given, with the trainer's default, and what no config says
            (reward, critic, processes).
        ignored: settings given that do not bear on the loss, or not beside the others, with the reason.
        approximated: what the scheme has, but not quite as the trainer.
        unsupported: what no slot can hold and was left out; empty unless asked for by ``unsupported="report"``.

    Entries are tuples ``(key, value, why)``. Every setting given is in ``read`` or in ``ignored``, once.

    >>> from lossim.configs import read_config
    >>> parsed = read_config({"loss_type": "dr_grpo", "scale_rewards": "none"}, trainer="trl")
    >>> parsed.scheme.aggregation, parsed.max_tokens
    (ConstantNormalizer(counting='all', constant=512), 512)
    >>> [entry.key for entry in parsed.read]
    ['loss_type', 'scale_rewards']
    """

    scheme: Scheme
    trainer: str
    version: str
    algorithm: str
    max_tokens: int | None
    read: tuple[Entry, ...]
    assumed: tuple[Entry, ...]
    ignored: tuple[Entry, ...]
    approximated: tuple[Entry, ...]
    unsupported: tuple[Entry, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, approximated, or assumed with a remark, one text each."""
        return (*(Note("unsupported", f"left out: {_line(entry)}") for entry in self.unsupported),
                *(Note("approximated", f"approximated: {_line(entry)}") for entry in self.approximated),
                *(Note("assumed", f"assumed: {_line(entry)}") for entry in self.assumed if entry.why))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for strict JSON; each slot of the scheme as text."""
        lists = {name: [{"key": entry.key, "value": _plain(entry.value), "why": entry.why} for entry in entries]
                 for name, entries in self._lists.items()}
        return {"trainer": self.trainer, "version": self.version, "algorithm": self.algorithm,
                "max_tokens": self.max_tokens, "scheme": describe_scheme(self.scheme), **lists}

    @property
    def _lists(self) -> dict[str, tuple[Entry, ...]]:
        return {name: getattr(self, name) for name in ("unsupported", "approximated", "read", "assumed", "ignored")}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: scheme, source, and the lists of settings by name."""
        cap = "" if self.max_tokens is None else f", at most {self.max_tokens} tokens"
        said = {"scheme": [str(self.scheme)], "source": [f"from {self.trainer} {self.version}, {self.algorithm}{cap}"]}
        for name, entries in self._lists.items():
            if name == "ignored" and entries:
                said[name] = wrap("ignored: " + ", ".join(entry.key for entry in entries), 110, subsequent_indent="  ")
            elif entries:
                said[name] = [f"{name}:", *_table(entries)]
        return said

    def __str__(self) -> str:
        return page(self.sections())

    __repr__ = __str__


def _shown(value: Any) -> str:
    text = repr(value)
    if isinstance(value, Reward):
        text = value.text
    elif is_dataclass(value):
        text = short(value)
    return text if len(text) <= WIDTH else text[:WIDTH - 3] + "..."


def _line(entry: Entry) -> str:
    return f"{entry.key} = {_shown(entry.value)}" + (f": {entry.why}" if entry.why else "")


def _table(entries: Sequence[Entry]) -> list[str]:
    keys = max(len(entry.key) for entry in entries)
    values = max(len(_shown(entry.value)) for entry in entries)
    table = Columns(f"<{keys + 2}", f"<{values + 2}", "<")
    return [table.row(entry.key, _shown(entry.value), entry.why) for entry in entries]


def _plain(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Mapping) and depth < DEEPEST:
        return {str(key): _plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and depth < DEEPEST:
        return [_plain(entry, depth + 1) for entry in value]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return repr(value)
