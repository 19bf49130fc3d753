"""Settings of a trainer: their kinds and defaults, and what becomes of each one that a config gives."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from lossim._support import checks
from lossim.configs._parsed import Entry, ParsedConfig
from lossim.critics import Critic, Zero
from lossim.rewards import Reward, Shaping
from lossim.schemes import Scheme

__all__ = ["Kind", "Options", "Settings", "choice", "flag", "number", "pair", "text", "whole"]


@dataclass(frozen=True)
class Kind:
    """What a setting takes, and its default; None is taken only where it is ``optional``."""

    of: Literal["number", "whole", "flag", "choice", "pair", "text", "any"]
    default: Any
    optional: bool = False
    low: float = -math.inf
    high: float = math.inf
    words: tuple[str, ...] = ()

    def read(self, name: str, value: Any, *, typed: bool) -> Any:
        """The value, checked; text stands for numbers, and without ``typed`` for everything."""
        if value is None or (not typed and isinstance(value, str) and value.lower() in ("none", "null")
                             and self.of != "choice"):
            if self.optional or self.of == "any":
                return None
            checks.fail(name, value, "must not be empty", f"the trainer's default is {self.default!r}", TypeError)
        if self.of == "choice":
            return checks.choice(name, value, self.words)
        if self.of == "flag":
            if not typed and isinstance(value, str) and value.lower() in ("true", "false"):
                return value.lower() == "true"
            fix = "write it without quotes" if isinstance(value, str) else ""
            return checks.flag(name, value, fix)
        if self.of == "text":
            return checks.text(name, value)
        if self.of == "any":
            return value
        if self.of == "pair":
            numbers = value.split() if isinstance(value, str) else value
            if not isinstance(numbers, Sequence) or len(numbers) != 2:
                checks.fail(name, value, "must be two numbers")
            low, high = (self._number(f"{name}[{i}]", entry) for i, entry in enumerate(numbers))
            return low, high
        if self.of == "whole":
            return self._whole(name, value, typed)
        return self._number(name, value)

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, str):  # YAML 1.1 takes 1e-6, without a point, for text
            try:
                value = float(value)
            except ValueError:
                checks.fail(name, value, "must be a number", "", TypeError)
        return checks.in_interval(name, value, self.low, self.high)

    def _whole(self, name: str, value: Any, typed: bool) -> int:
        if not typed and isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value):
            value = int(value)
        if isinstance(value, np.integer):
            value = int(value)
        return checks.whole(name, value, low=int(self.low) if math.isfinite(self.low) else -checks.LARGEST_WHOLE)


def number(default: float | None, *, low: float = -math.inf, high: float = math.inf, optional: bool = False) -> Kind:
    """A finite number in [low, high]; a default of None makes it optional."""
    return Kind("number", default, optional or default is None, low, high)


def whole(default: int | None, *, low: float = 1, optional: bool = False) -> Kind:
    """A whole number, ``low`` or more."""
    return Kind("whole", default, optional or default is None, low)


def flag(default: bool | None) -> Kind:
    """True or False."""
    return Kind("flag", default, default is None)


def choice(default: str | None, *words: str) -> Kind:
    """One of the words."""
    return Kind("choice", default, default is None, words=words)


def pair(default: tuple[float, float] | None, *, low: float = -math.inf) -> Kind:
    """Two numbers."""
    return Kind("pair", default, default is None, low)


def text(default: str | None) -> Kind:
    """A string."""
    return Kind("text", default, default is None)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What ``read_config`` was told beside the config."""

    reward: Reward | None = None
    critic: Critic | None = None
    algorithm: str | None = None
    processes: int | None = None
    report: bool = False
    ignore: tuple[str, ...] = ()
    typed: bool = True


class Settings:
    """The settings of a config: each given one ends up in ``read`` or in ``ignored``, each default in ``assumed``.

    Args:
        given: the config, by full names.
        table: the settings that bear on the loss.
        inert: names of settings that do not, with the reason for each; a star at the end stands for any ending.
        source: name and version of the trainer, for messages.
        options: what the caller says. ``typed`` is whether text is text; on command lines it stands for other things.
    """

    def __init__(self, given: Mapping[str, Any], table: Mapping[str, Kind], inert: Mapping[str, str], source: str,
                 options: Options) -> None:
        self.table, self.options = table, options
        self.values: dict[str, Any] = {}
        self.processes = 1
        self.read: list[Entry] = []
        self.assumed: list[Entry] = []
        self.ignored: list[Entry] = []
        self.approximated: list[Entry] = []
        self.unsupported: list[Entry] = []
        for key in options.ignore:
            if key not in given:
                checks.fail("ignore", key, "must hold keys of the config", _nearest(key, given))
        for key, value in given.items():
            if key in options.ignore:
                self.ignored.append(Entry(key, value, "passed over as told by ignore="))
            elif key in table:
                self.values[key] = table[key].read(key, value, typed=options.typed)
            elif (why := _reason(key, inert)) is not None:
                self.ignored.append(Entry(key, value, why))
            elif (value is None or value == {}) and any(name.startswith(key + ".") for name in table):
                self.ignored.append(Entry(key, value, "empty"))
            else:
                known = [*table, *(name for name in inert if not name.endswith("*"))]
                checks.fail(key, value, f"is not a setting that lossim knows of {source}",
                            _nearest(key, known) or f"to pass over it: ignore=[{key!r}]")

    def has(self, key: str) -> bool:
        """Whether the config gives it."""
        return key in self.values

    def peek(self, key: str) -> Any:
        """A value, given or default, without saying that it matters."""
        return self.values.get(key, self.table[key].default)

    def take(self, key: str, why: str = "") -> Any:
        """A value that the scheme depends on; ``why`` is a remark for where it is the default."""
        if not any(entry.key == key for entry in (*self.read, *self.assumed)):
            (self.read if key in self.values else self.assumed).append(
                Entry(key, self.values[key], "") if key in self.values else Entry(key, self.peek(key), why))
        return self.peek(key)

    def say_assumed(self, name: str, value: Any, why: str) -> None:
        """Note something that no setting says."""
        self.assumed.append(Entry(name, value, why))

    def remark(self, key: str, why: str) -> None:
        """Add to what there is to say of a value that was taken."""
        for entries in (self.read, self.assumed):
            entries[:] = [entry._replace(why=why) if entry.key == key else entry for entry in entries]

    def _supplied(self, name: str, value: Any, default: Any, why: str) -> Any:
        self.assumed.append(Entry(name, default, why)) if value is None else self.read.append(Entry(name, value, ""))
        return default if value is None else value

    def reward(self, *shapings: Shaping) -> Reward:
        """What is paid, with what the config adds to it."""
        paid: Reward = self._supplied("reward", self.options.reward, Reward(), "a config does not say what is paid")
        own = paid.shaping if isinstance(paid.shaping, tuple) else () if paid.shaping is None else (paid.shaping,)
        return replace(paid, shaping=(*own, *shapings)) if shapings else paid

    def critic(self) -> Critic:
        """The critic, which no config holds."""
        made: Critic = self._supplied("critic", self.options.critic, Zero(), "a config has no critic")
        return made

    def processes_from(self, told: int | None, why: str) -> int:
        """How many devices there are, from the config or from the caller."""
        asked = self.options.processes
        if told is not None and asked not in (None, told):
            checks.fail("processes", asked, f"must be {told}, as the config has it")
        self.processes = self._supplied("processes", asked, 1 if told is None else told, why)
        return self.processes

    def approximate(self, key: str, why: str) -> None:
        """Say that the scheme does this, but not quite so."""
        self.approximated.append(Entry(key, self.peek(key) if key in self.table else None, why))

    def no_slot(self, key: str, what: str, fix: str = "") -> None:
        """Refuse a setting that a scheme cannot hold, or report that it is left out."""
        value = self.take(key)
        if not self.options.report:
            checks.fail(key, value, f"asks for {what}, for which a scheme has no slot",
                        f"{fix}{', ' if fix else ''}or pass unsupported='report' to leave it out")
        self.unsupported.append(Entry(key, value, what))

    def parsed(self, scheme: Scheme, trainer: str, version: str, algorithm: str, max_tokens: int | None,
               idle: Mapping[str, str]) -> ParsedConfig:
        """The result; what was given and not taken is ignored, with a reason from ``idle`` if there is one."""
        taken = {entry.key for entry in self.read}
        self.ignored.extend(Entry(key, value, idle.get(key, "has no effect beside the other settings"))
                            for key, value in self.values.items() if key not in taken)
        for name, value in (("critic", self.options.critic), ("processes", self.options.processes)):
            if value is not None and name not in taken:
                checks.fail(name, value, f"has no effect on this config ({algorithm})", "leave it out")
        return ParsedConfig(
            scheme=scheme, trainer=trainer, version=version, algorithm=algorithm, max_tokens=max_tokens,
            read=tuple(self.read), assumed=tuple(self.assumed), ignored=tuple(self.ignored),
            approximated=tuple(self.approximated), unsupported=tuple(self.unsupported))


def _reason(key: str, inert: Mapping[str, str]) -> str | None:
    """Why a key does not bear on the loss: by its own name, or by the longest name with a star that it starts with."""
    if key in inert:
        return inert[key]
    stars = [name for name in inert if name.endswith("*") and (key + ".").startswith(name[:-1])]
    return inert[max(stars, key=len)] if stars else None


def _nearest(key: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not near:
        tails = {name.rpartition(".")[2]: name for name in names}
        near = [tails[tail] for tail in difflib.get_close_matches(key.rpartition(".")[2], tails, n=1, cutoff=0.75)]
    return f"did you mean {near[0]!r}?" if near else ""
