"""What ``read_config`` returns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from textwrap import wrap
from typing import Any, NamedTuple

from lossim._display import CHANGE, Bar, Page, Result, Section, Table, Text, assumed, bars, settings
from lossim._engine import describe_scheme
from lossim._support.text import Columns, Note, Sections
from lossim.configs._changing import with_settings
from lossim.configs._training import Training
from lossim.rewards import Reward
from lossim.schemes import Scheme, Unsettled, short

WIDTH = 44  # characters of a value in print
LISTS = ("unsupported", "unknown", "unread", "approximated", "read", "assumed", "ignored")
DEEPEST = 60  # levels of a nested config or value; what holds itself has more


class Entry(NamedTuple):
    """A setting, its value, and what there is to say of it."""

    key: str
    value: Any
    why: str


@dataclass(frozen=True, kw_only=True, repr=False)
class ParsedConfig(Result):
    """A trainer's config as a scheme, with what became of every setting.

    Attributes:
        scheme: what the config says the loss is; its ``doubts`` are what is not settled about that.
        trainer, version, algorithm: whose config it is; defaults are those of that version.
        found: how the trainer was found.
        max_tokens: most tokens of a response; None where the config does not say.
        read: settings given that the scheme depends on.
        assumed: settings it depends on that were not given, with the trainer's default, and what no config says
            (reward, critic, processes). Where the default hangs on a version that nobody gave, that is said.
        ignored: settings given that do not bear on the loss, or not beside the others, with the reason.
        approximated: what the scheme has, but not quite as the trainer.
        unsupported: what no slot can hold and was left out.
        unknown: keys that lossim does not know and that may bear on the loss.
        unread: settings with values that only running tells, which were read as not given.
        optimizer: learning rate, schedule, warmup and the rest, as far as they are given or have defaults.
        epochs, steps: how long it trains, None where the config does not say.
        remarks: what was noted while the config was looked for.

    Entries are tuples ``(key, value, why)``. Every setting given is in ``read``, ``ignored``, ``unknown`` or
    ``unread``, once.

    >>> from lossim.configs import read_config
    >>> parsed = read_config({"loss_type": "dr_grpo", "scale_rewards": "none"}, trainer="trl==1.16")
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
    unknown: tuple[Entry, ...] = ()
    unread: tuple[Entry, ...] = ()
    found: str = ""
    optimizer: Training | None = None
    epochs: float | None = None
    steps: int | None = None
    settling: tuple[tuple[str, Any], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """How much of the config the scheme holds, and what it leaves open, in one line.

        >>> from lossim.configs import read_config
        >>> read_config({"loss_type": "grpo", "beta": 0.1, "kl_floor": 3}, trainer="trl==1.16", processes=1).verdict
        'a scheme by 3 settings and 27 defaults of trl 1.16; not known: kl_floor'
        """
        said = [f"a scheme by {len(self.read):,} settings and {len(self.assumed):,} defaults of {self.trainer} "
                f"{self.version}"]
        unknown = {entry.key for entry in self.unknown}
        open_ones = (("not settled", [each.unknown for each in self.doubts if each.unknown not in unknown]),
                     ("left out", [entry.key for entry in self.unsupported]),
                     ("not known", [entry.key for entry in self.unknown]),
                     ("read as not given", [entry.key for entry in self.unread]),
                     ("approximated", [entry.key for entry in self.approximated]))
        return "; ".join([*said, *(f"{what}: {', '.join(names)}" for what, names in open_ones if names)])

    @property
    def doubts(self) -> tuple[Unsettled, ...]:
        """What is not settled about the scheme: ``scheme.doubts``."""
        return self.scheme.doubts

    @property
    def prompts_per_rollout(self) -> int:
        """Prompts that are drawn before the optimiser steps on them."""
        return self.scheme.prompts_per_step * self.scheme.minibatches

    @property
    def settle(self) -> str:
        """Arguments that settle what is not settled as it was read: change the values that are others in your run.

        >>> from lossim.configs import read_config
        >>> read_config({"loss_type": "grpo", "beta": 0.1, "kl_floor": 3}, trainer="trl").settle
        "version='1.16.0', ignore=['kl_floor'], processes=1"
        """
        return ", ".join(f"{name}={list(value) if isinstance(value, tuple) else value!r}"
                         for name, value in self.settling)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, approximated, or assumed with a remark, one text each."""
        noted = [*(("unsupported", "left out", entry) for entry in self.unsupported),
                 *(("unknown", "not known", entry) for entry in self.unknown),
                 *(("unread", "read as not given", entry) for entry in self.unread),
                 *(("approximated", "approximated", entry) for entry in self.approximated),
                 *(("assumed", "assumed", entry) for entry in self.assumed if entry.why)]
        return (*self.remarks, *(Note(code, f"{said}: {key} = {shown(value)}{why and f': {why}'}")
                                 for code, said, (key, value, why) in noted))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for strict JSON; each slot of the scheme as text."""
        lists = {name: [{"key": key, "value": _plain(value), "why": why} for key, value, why in getattr(self, name)]
                 for name in LISTS}
        return {"trainer": self.trainer, "version": self.version, "algorithm": self.algorithm, "found": self.found,
                "max_tokens": self.max_tokens, "scheme": describe_scheme(self.scheme),
                "doubts": [str(doubt) for doubt in self.doubts], "settle": self.settle,
                "optimizer": None if self.optimizer is None else self.optimizer.to_dict(),
                "epochs": self.epochs, "steps": self.steps, **lists}

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: scheme, source, and the lists of settings by name."""
        cap = "" if self.max_tokens is None else f", at most {self.max_tokens} tokens"
        said = {"verdict": [f"{self.scheme.name}: {self.verdict}"], "scheme": [str(self.scheme)],
                "source": [f"from {self.trainer} {self.version}, {self.algorithm}{cap}"]}
        if self.found:
            said["source"].append(f"  {self.found}")
        said["source"] += [f"  note: {remark}" for remark in self.remarks]
        if self.optimizer is not None:
            said["optimizer"] = [f"optimizer: {self.optimizer}"]
        for name in LISTS:
            rows = [(key, shown(value), why) for key, value, why in getattr(self, name)]
            if name == "ignored" and rows:
                said[name] = wrap("ignored: " + ", ".join(key for key, *_ in rows), 110, subsequent_indent="  ")
            elif rows:
                widths = [max(len(row[i]) for row in rows) + 2 for i in (0, 1)]
                table = Columns(*(f"<{width}" for width in widths), "<")
                said[name] = [f"{name}:", *(table.row(*row) for row in rows)]
        if self.settling:
            said["settle"] = [f"settled as it was read by: {self.settle}"]
        return said

    def _page(self) -> Page:
        given = {"trainer": f"{self.trainer} {self.version}, {self.algorithm}", "found": self.found,
                 "scheme": " · ".join(self.scheme.slots),
                 "most tokens of a response": "" if self.max_tokens is None else f"{self.max_tokens:,}",
                 "optimizer": "" if self.optimizer is None else str(self.optimizer)}
        doubts = Table(title="", columns=("what is not settled", "it may be"),
                       rows=tuple((each.unknown, str(each)) for each in self.doubts))
        sure = Section(title="What is not settled", parts=(doubts,) if self.doubts else ())
        settle = (Text(text="Settled as it was read by these arguments; change those that are others in your run:"),
                  Text(text=self.settle, code=True)) if self.settling else ()
        counts = [Bar(label=name, value=float(len(getattr(self, name)))) for name in LISTS]
        table = settings({name: value for name, value in given.items() if value})
        return self._paged(f"{self.scheme.name}, read from {self.trainer}",
                           Section(title="What it says the loss is", parts=(
                               table, bars("What became of the settings", counts, "settings"))),
                           sure, Section(title=CHANGE, parts=settle), self._lists, assumed(self.notes, {}))

    @property
    def _lists(self) -> Section:
        """What became of every setting."""
        return Section(title="What became of the settings", folded=True, parts=tuple(
            _listed(name, getattr(self, name)) for name in LISTS if getattr(self, name)))

    def _onto(self, page: Page) -> Page:
        """A page with this trainer's settings beside what would change its answer, and what became of all of them."""
        named = with_settings(page, self.trainer, self.scheme)
        return Page(kind=page.kind, title=page.title, sentence=page.sentence, printed=page.printed,
                    sections=(*named.sections, self._lists))

    def _columns(self) -> dict[str, Any]:
        """A row for each setting: what became of it, its key, its value in print, and why."""
        rows = [(name, *entry) for name in LISTS for entry in getattr(self, name)]
        return {"became": [row[0] for row in rows], "key": [str(row[1]) for row in rows],
                "value": [shown(row[2]) for row in rows], "why": [row[3] for row in rows]}


def _listed(name: str, entries: tuple[Entry, ...]) -> Table:
    """Settings of which the same became, as a table."""
    return Table(title=name, columns=("key", "value", "why"),
                 rows=tuple((str(key), shown(value), why) for key, value, why in entries))


def shown(value: Any) -> str:
    """A value in print."""
    text = repr(value)
    if isinstance(value, Reward):
        text = value.text
    elif is_dataclass(value):
        text = short(value)
    return text if len(text) <= WIDTH else text[:WIDTH - 3] + "..."


def _plain(value: Any, depth: int = 0) -> Any:
    if isinstance(value, Mapping) and depth < DEEPEST:
        return {str(key): _plain(entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)) and depth < DEEPEST:
        return [_plain(entry, depth + 1) for entry in value]
    if value is None or isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return repr(value)
