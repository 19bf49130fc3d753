"""What a config gives, and how it is read: by generators that say what they take, in order, and return a value.

``beta = yield from given.take("beta")`` takes a setting, and there is no other way to its value: what a scheme depends
on and what is said to be read are the same by construction. What else there is to say is yielded too, so that nothing
is written down while a config is read; `parsed` makes the lists of a ``ParsedConfig`` of it.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeVar

from lossim._support import checks
from lossim._support.records import Record
from lossim._support.text import Phrase, argument
from lossim.configs._kinds import Kind, anything
from lossim.configs._parsed import Entry, ParsedConfig
from lossim.critics import Critic, Zero
from lossim.rewards import Reward, Shaping
from lossim.schemes import Scheme

__all__ = ["Dialect", "Given", "Options", "Reading", "parsed"]

TOLD = {"reward": anything(Reward(), why="a config does not say what is paid"),
        "critic": anything(Zero(), why="a config has no critic")}
"""Settings that the caller gives, and no config."""


class Said(NamedTuple):
    """Something said of a setting; ``fix`` is how to do without what has no slot."""

    of: Literal["taken", "remark", "approximated", "unsupported"]
    entry: Entry
    fix: str = ""


Value = TypeVar("Value")
Reading = Generator[Said, None, Value]
"""What is read as a value, and what was said on the way."""


class Options(Record):
    """What ``read_config`` was told beside the config; ``typed`` is whether text is text, as in files."""

    reward: Reward | None = None
    critic: Critic | None = None
    algorithm: str | None = None
    processes: int | None = None
    report: bool = False
    ignore: tuple[str, ...] = ()
    typed: bool = True


class Dialect(Record):
    """The settings of a trainer's config at one version.

    Attributes:
        trainer, version, config, title: what a ``ParsedConfig`` says they are, and what messages say.
        table: the settings that bear on the loss, by full names.
        inert: the reason for each name that does not; a star at the end stands for any ending.
    """

    trainer: str
    version: str
    config: str
    title: str
    table: Mapping[str, Kind]
    inert: Mapping[str, str]


class Given(Record):
    """What a config gives: its settings, checked, and what counts where it gives none.

    Attributes:
        dialect, report: whose settings they are, and whether those without a slot are no error.
        kinds: what each setting takes; ``reward``, ``critic`` and ``processes`` are settings like others.
        values: what is given, in the order of the config.
        ignored: what is given and does not bear on the loss.
    """

    dialect: Dialect
    report: bool
    kinds: Mapping[str, Kind]
    values: Mapping[str, Any]
    ignored: tuple[Entry, ...]

    @classmethod
    def read(cls, config: Mapping[str, Any], dialect: Dialect, options: Options) -> Given:
        """A flat config, checked; a setting that the dialect does not know is an error."""
        for key in options.ignore:
            if key not in config:
                checks.fail("ignore", key, "must hold keys of the config", _nearest(key, config))
        values: dict[str, Any] = {}
        ignored = []
        for key, value in config.items():
            if key in options.ignore:
                ignored.append(Entry(key, value, "passed over as told by ignore="))
            elif key in dialect.table:
                values[key] = dialect.table[key].read(key, value, typed=options.typed)
            else:
                ignored.append(Entry(key, value, _reason(key, value, dialect)))
        told = {"reward": options.reward, "critic": options.critic, "processes": options.processes}
        values |= {name: value for name, value in told.items() if value is not None}
        return cls(dialect=dialect, report=options.report, kinds={**dialect.table, **TOLD}, values=values,
                   ignored=tuple(ignored))

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def assuming(self, key: str, value: Any, why: str) -> Given:
        """The same with a default of its own for a setting."""
        return replace(self, kinds={**self.kinds, key: anything(value, why=why)})

    def take(self, key: str) -> Reading[Any]:
        """The value of a setting that the scheme depends on, after what its kind has to say of such a value."""
        kind = self.kinds[key]
        value = self.values.get(key, kind.default)
        yield Said("taken", Entry(key, value, "" if key in self else kind.why))
        if kind.approximated and value not in kind.neutral:
            yield self.approximated(key, kind.approximated)
        if kind.no_slot and value not in kind.neutral:
            yield self.no_slot(key, kind.no_slot, kind.fix)
        return value

    def take_all(self, *keys: str) -> Reading[tuple[Any, ...]]:
        """The values of several."""
        values = []
        for key in keys:
            values.append((yield from self.take(key)))
        return tuple(values)

    def take_given(self, *keys: str) -> Reading[None]:
        """The same of settings that are not worth a word where they are not given."""
        yield from self.take_all(*(key for key in keys if key in self))

    def either(self, key: str, fallback: str) -> Reading[Any]:
        """A setting, or where it is None another one."""
        value = yield from self.take(key)
        if value is None:
            value = yield from self.take(fallback)
        return value

    def older(self, old: str, new: str) -> Reading[Any]:
        """A setting that counts under its older name where that is given, and not None."""
        if old in self:
            value = yield from self.either(old, new)
        else:
            value = yield from self.take(new)
        return value

    def reward(self, *shapings: Shaping) -> Reading[Reward]:
        """What is paid, with what the config adds to its shaping."""
        reward: Reward = yield from self.take("reward")
        if not shapings:
            return reward
        own = reward.shaping if isinstance(reward.shaping, tuple) else (reward.shaping,)
        return replace(reward, shaping=tuple(each for each in (*own, *shapings) if each is not None))

    def remark(self, key: str, why: str) -> Said:
        """What the trainer makes of a value that was taken."""
        return self._said("remark", key, why)

    def approximated(self, key: str, why: str) -> Said:
        """The scheme does what the setting asks for, but not quite so."""
        return self._said("approximated", key, why)

    def no_slot(self, key: str, what: str, fix: str = "") -> Said:
        """The setting asks for what a scheme cannot hold."""
        return self._said("unsupported", key, what)._replace(fix=fix)

    def _said(self, of: Literal["remark", "approximated", "unsupported"], key: str, why: str) -> Said:
        return Said(of, Entry(key, self.values.get(key, self.kinds[key].default), why))


def parsed(given: Given, reading: Reading[tuple[Scheme, int | None]]) -> ParsedConfig:
    """The scheme and the longest response that a reading returns, and what became of every setting.

    Settings that were taken are read or assumed, in the order in which they were first taken, and the others ignored.
    Whether a setting without a slot is refused or reported is decided here alone.
    """
    used: dict[str, Entry] = {}
    approximated: dict[tuple[str, str], Entry] = {}
    unsupported: dict[tuple[str, str], Entry] = {}
    while True:
        try:
            of, entry, fix = next(reading)
        except StopIteration as end:
            scheme, max_tokens = end.value
            break
        if of == "taken":
            used.setdefault(entry.key, entry)
        elif of == "remark":
            used[entry.key] = entry
        elif of == "approximated":
            approximated[entry.key, entry.why] = entry
        elif given.report:
            unsupported[entry.key, entry.why] = entry
        else:
            checks.fail(entry.key, entry.value, f"asks for {entry.why}, for which a scheme has no slot",
                        Phrase(f"{fix}{', ' if fix else ''}or pass ", argument("unsupported", "report"),
                               " to leave it out"))
    dialect = given.dialect
    for told in ("critic", "processes"):
        if told in given and told not in used:
            checks.fail(told, given.values[told], f"has no effect on this config ({dialect.config})", "leave it out")
    unused = (Entry(key, value, dialect.table[key].idle) for key, value in given.values.items() if key not in used)
    return ParsedConfig(
        scheme=scheme, trainer=dialect.trainer, version=dialect.version, algorithm=dialect.config,
        max_tokens=max_tokens, read=tuple(entry for key, entry in used.items() if key in given),
        assumed=tuple(entry for key, entry in used.items() if key not in given), ignored=(*given.ignored, *unused),
        approximated=tuple(approximated.values()), unsupported=tuple(unsupported.values()))


def _reason(key: str, value: Any, dialect: Dialect) -> str:
    """Why a key does not bear on the loss: by its own name, or by the longest name with a star that it starts with."""
    if key in dialect.inert:
        return dialect.inert[key]
    stars = [name for name in dialect.inert if name.endswith("*") and (key + ".").startswith(name[:-1])]
    if stars:
        return dialect.inert[max(stars, key=len)]
    if (value is None or value == {}) and any(name.startswith(key + ".") for name in dialect.table):
        return "empty"
    known = [*dialect.table, *(name for name in dialect.inert if not name.endswith("*"))]
    checks.fail(key, value, f"is not a setting that lossim knows of {dialect.title}",
                _nearest(key, known) or f"to pass over it: ignore=[{key!r}]")


def _nearest(key: str, known: Iterable[str]) -> str:
    """A question after the name that is most like it, whole or behind the last dot; empty if none is."""
    names = list(known)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    if not near:
        tails = {name.rpartition(".")[2]: name for name in names}
        near = [tails[tail] for tail in difflib.get_close_matches(key.rpartition(".")[2], tails, n=1, cutoff=0.75)]
    return f"did you mean {near[0]!r}?" if near else ""
