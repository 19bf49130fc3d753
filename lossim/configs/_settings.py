"""Settings: what each takes, in the words of the tables, and what became of those that a config gives."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np

from lossim._support import checks
from lossim._support.text import Phrase, argument
from lossim.configs._parsed import Entry, ParsedConfig
from lossim.critics import Critic, NotGiven
from lossim.rewards import Reward, Shaping
from lossim.schemes import Scheme


@dataclass(frozen=True, eq=False, repr=False)
class Kind:
    """What a setting takes and its default, which may be None as others may if ``optional``, and what to say of it.

    ``why`` is said where the default is assumed, ``idle`` where the scheme does not depend on what is given,
    ``approximated`` or ``no_slot`` and ``fix`` of other values than the ``neutral`` ones, or the default.
    """

    of: Literal["number", "whole", "flag", "choice", "pair", "text", "any"]
    default: Any
    optional: bool = False
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()
    why: str = ""
    idle: str = "has no effect beside the other settings"
    approximated: str = ""
    no_slot: str = ""
    fix: str = ""
    neutral: tuple[Any, ...] = ()

    def read(self, name: str, value: Any, *, typed: bool) -> Any:
        """The value, checked; text stands for numbers, and without ``typed`` for everything."""
        word = value.lower() if isinstance(value, str) and not typed else None
        if value is None or (word in ("none", "null") and self.of != "choice"):
            if self.optional or self.default is None:
                return None
            checks.fail(name, value, "must not be empty", f"the trainer's default is {self.default!r}", TypeError)
        match self.of:
            case "number":
                return self._number(name, value)
            case "pair":
                numbers = value.split() if isinstance(value, str) else value
                if not isinstance(numbers, Sequence) or len(numbers) != 2:
                    checks.fail(name, value, "must be two numbers")
                return tuple(self._number(f"{name}[{i}]", number) for i, number in enumerate(numbers))
            case "whole":
                if isinstance(value, np.integer) or (word is not None and re.fullmatch(r"[+-]?\d+", word)):
                    value = int(value)
                return checks.whole(name, value, low=int(self.low))
            case "flag":
                if word in ("true", "false"):
                    return word == "true"
                return checks.flag(name, value, "write it without quotes" if isinstance(value, str) else "")
            case "choice":
                return checks.choice(name, value, self.words)
            case "text":
                return checks.text(name, value)
        return value

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, str):  # YAML 1.1 takes 1e-6, without a point, for text
            try:
                value = float(value)
            except ValueError:
                checks.fail(name, value, "must be a number", "", TypeError)
        return checks.in_interval(name, value, self.low, self.high)


number = partial(Kind, "number")
whole = partial(Kind, "whole", low=1)
flag = partial(Kind, "flag")
pair = partial(Kind, "pair")
text = partial(Kind, "text")
anything = partial(Kind, "any", optional=True)


def choice(words: str, **said: Any) -> Kind:
    """One of the words, by default the first."""
    names = tuple(words.split())
    return Kind("choice", **{"default": names[0], "words": names, **said})


def each(kind: Kind, names: str) -> dict[str, Kind]:
    """Settings of one kind."""
    return dict.fromkeys(names.split(), kind)


def inert(names: Mapping[tuple[str, str], str]) -> dict[str, str]:
    """The reason of each name, from texts of names by their reason and the prefix that they share."""
    return {prefix + name: why for (why, prefix), text in names.items() for name in text.split()}


TOLD = {"reward": anything(Reward(), why="a config does not say what is paid"),
        "critic": anything(NotGiven(), why="a config does not say in what state its critic is")}
"""Settings that the caller gives, and no config."""

OTHER = "responses are drawn from another distribution than the loss has; here from it"
WHITENED = "whitened over the rollout's tokens; so in train, but drift takes those of one optimiser step"


class Dialect(NamedTuple):
    """A trainer's config: what messages call it, the settings that bear on the loss, and why others do not.

    A star at the end of a name in ``inert`` stands for any ending.
    """

    trainer: str
    version: str
    config: str
    title: str
    table: Mapping[str, Kind]
    inert: Mapping[str, str]


class Options(NamedTuple):
    """What ``read_config`` was told beside the config; ``typed`` is whether text is text, as in files."""

    reward: Reward | None
    critic: Critic | None
    algorithm: str | None
    processes: int | None
    report: bool
    ignore: tuple[str, ...]
    typed: bool


class Given:
    """What a config gives, checked, and what becomes of it while a scheme is made of the values that are taken.

    ``values`` are given, among them what the caller told; ``used`` has those that were taken, and defaults.
    """

    def __init__(self, config: Mapping[str, Any], dialect: Dialect, options: Options) -> None:
        self.dialect = dialect
        self.report = options.report
        self.kinds = {**dialect.table, **TOLD}
        self.values: dict[str, Any] = {}
        self.used: dict[str, Entry] = {}
        self.ignored: list[Entry] = []
        self.approximated: dict[tuple[str, str], Entry] = {}
        self.unsupported: dict[tuple[str, str], Entry] = {}
        for key in options.ignore:
            if key not in config:
                checks.fail("ignore", key, "must hold keys of the config", _nearest(key, config))
        for key, value in config.items():
            if key in options.ignore:
                self.ignored.append(Entry(key, value, "passed over as told by ignore="))
            elif key in dialect.table:
                self.values[key] = dialect.table[key].read(key, value, typed=options.typed)
            else:
                self.ignored.append(Entry(key, value, _reason(key, value, dialect)))
        for key in ("reward", "critic", "processes"):
            if getattr(options, key) is not None:
                self.values[key] = getattr(options, key)

    def take(self, key: str) -> Any:
        """The value of a setting that the scheme depends on; what its kind has to say of such a value is said."""
        kind = self.kinds[key]
        entry = self._entry(key, "" if key in self.values else kind.why)
        self.used.setdefault(key, entry)
        neutral = kind.neutral or (kind.default,)
        if kind.approximated and entry.value not in neutral:
            self.approximate(key, kind.approximated)
        if kind.no_slot and entry.value not in neutral:
            self.no_slot(key, kind.no_slot, kind.fix)
        return entry.value

    def take_all(self, *keys: str) -> list[Any]:
        """The values of several."""
        return [self.take(key) for key in keys]

    def take_given(self, *keys: str) -> None:
        """The same of settings that are not worth a word where they are not given."""
        self.take_all(*(key for key in keys if key in self.values))

    def assume(self, key: str, value: Any, why: str) -> Any:
        """What no config says: as the caller has it, or this value."""
        self.kinds[key] = anything(value, why=why)
        return self.take(key)

    def either(self, key: str, fallback: str) -> Any:
        """A setting, or where it is None another one."""
        value = self.take(key)
        return self.take(fallback) if value is None else value

    def older(self, old: str, new: str) -> Any:
        """A setting that counts under its older name where that is given, and not None."""
        return self.either(old, new) if old in self.values else self.take(new)

    def positive(self, key: str, fix: str = "") -> float:
        """A number that must be positive where it counts."""
        return checks.positive(key, self.take(key) or 0.0, fix)

    def reward(self, *shapings: Shaping) -> Reward:
        """What is paid, with what the config adds to its shaping."""
        reward: Reward = self.take("reward")
        if not shapings:
            return reward
        own = reward.shaping if isinstance(reward.shaping, tuple) else (reward.shaping,)
        return replace(reward, shaping=tuple(each for each in (*own, *shapings) if each is not None))

    def remark(self, key: str, why: str) -> None:
        """Say what the trainer makes of a value that was taken."""
        self.used[key] = self._entry(key, why)

    def approximate(self, key: str, why: str) -> None:
        """Say that the scheme does what the setting asks for, but not quite so."""
        self.approximated[key, why] = self._entry(key, why)

    def no_slot(self, key: str, what: str, fix: str = "") -> None:
        """Refuse a setting that asks for what a scheme cannot hold, or report that it is left out."""
        entry = self.unsupported[key, what] = self._entry(key, what)
        if not self.report:
            checks.fail(key, entry.value, f"asks for {what}, for which a scheme has no slot",
                        Phrase(f"{fix}{', ' if fix else ''}or pass ", argument("unsupported", "report"),
                               " to leave it out"))

    def _entry(self, key: str, why: str) -> Entry:
        return Entry(key, self.values.get(key, self.kinds[key].default), why)

    def parsed(self, max_tokens: int | None, scheme: Scheme) -> ParsedConfig:
        """The longest response and the scheme, and what became of every setting; those not taken are ignored."""
        for told in ("critic", "processes"):
            if told in self.values and told not in self.used:
                checks.fail(told, self.values[told], f"has no effect on this config ({self.dialect.config})",
                            "leave it out")
        unused = [self._entry(key, self.kinds[key].idle) for key in self.values if key not in self.used]
        return ParsedConfig(
            scheme=scheme, trainer=self.dialect.trainer, version=self.dialect.version, algorithm=self.dialect.config,
            max_tokens=max_tokens, read=tuple(entry for key, entry in self.used.items() if key in self.values),
            assumed=tuple(entry for key, entry in self.used.items() if key not in self.values),
            ignored=(*self.ignored, *unused), approximated=tuple(self.approximated.values()),
            unsupported=tuple(self.unsupported.values()))


def paid(reward: Reward) -> list[float]:
    """What a reward pays, before its shaping."""
    return [value for value in (reward.correct, reward.incorrect, reward.truncated) if value is not None]


def _reason(key: str, value: Any, dialect: Dialect) -> str:
    """Why a key does not bear on the loss: by its own name, or by the longest name with a star that it starts with."""
    stars = [name for name in dialect.inert if name.endswith("*") and (key + ".").startswith(name[:-1])]
    if key in dialect.inert or stars:
        return dialect.inert.get(key) or dialect.inert[max(stars, key=len)]
    if (value is None or value == {}) and any(name.startswith(key + ".") for name in dialect.table):
        return "empty"
    known = [*dialect.table, *(name for name in dialect.inert if not name.endswith("*"))]
    checks.fail(key, value, f"is not a setting that lossim knows of {dialect.title}",
                _nearest(key, known) or f"to pass over it: ignore=[{key!r}]")


def _nearest(key: str, known: Collection[str]) -> str:
    """A question after the name that is most like it, whole or behind the last dot; empty if none is."""
    tails = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key.rpartition(".")[2], tails, n=1, cutoff=0.75)
    return checks.nearest(key, known) or (f"did you mean {tails[near[0]]!r}?" if near else "")
