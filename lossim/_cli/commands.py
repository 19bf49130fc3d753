"""What the commands compute: from parsed arguments to an answer as text, as plain values, and as a figure."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from lossim._auditing import Finding, audit
from lossim._engine import describe_scheme, drift
from lossim._fitting import fit
from lossim._support import checks
from lossim._support.text import Sections, code, either, noted, page, wrapped
from lossim.configs import PARSERS, ParsedConfig, read_config
from lossim.lengths import lognormal
from lossim.policies import two_paths
from lossim.rewards import Reward
from lossim.rollouts import Reading, Rollouts, reward_levels
from lossim.schemes import Scheme, presets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOGGED = "logged"
SIGMA = 0.7
CONFIG_ONLY = ("trainer", "algorithm", "processes", "unsupported", "ignore")
LOG_ONLY = ("column", "tokenizer", "format", "correct_above", "on_error", "paths", "needed", "replicates")
LAWS = ("solve_rate", "right", "wrong", "sigma")


class Answer(NamedTuple):
    """What a command prints: text, or ``payload`` as JSON; and what it draws."""

    text: str
    payload: dict[str, Any]
    plot: Callable[[], Figure] | None = None


def audit_log(args: Namespace) -> Answer:
    """``lossim audit``: what schemes do on a log."""
    own, config = _scheme(args)
    named, notes = _compared(args, own)
    rollouts, reading, cap, about_log = _read(args, config)
    notes += about_log
    paths: Literal["outcome", "one", "states", "column"] = args.paths or "outcome"
    ungraded = rollouts.correct is None and args.correct_above is None
    if args.paths is None and ungraded and len(reward_levels(rollouts)) == 1:
        paths = "one"
        notes.append("all rewards are equal and there are no grades: right and wrong responses share one path")
    reward = _reward(args)
    if reward is not None and config is not None:
        reward = config.scheme.reward  # with the length penalties of the config
    schemes = named if own is None else [own, *named]
    found = audit(rollouts, schemes, reward=reward, paths=paths, needed=args.needed, max_tokens=cap,
                  correct_above=args.correct_above, progress=_progress(args), **_given(replicates=args.replicates))
    verdict = _comparison(found.findings) if own is None and len(named) > 1 else found.verdict
    said = found.sections() | {"verdict": [verdict]}
    said |= {name: reading.sections()[name] for name in ("left out", "first")}
    if config is not None and len(found.findings) > 1:
        said["slots"] = wrapped("scheme", config.scheme.slots)  # which nothing else prints
    return _answer(said, found.plot, config, notes, verdict=verdict, audit=found.to_dict(), reading=reading.to_dict())


def drift_of(args: Namespace) -> Answer:
    """``lossim drift``: what a scheme does to a policy, given by laws of length or fitted to a log."""
    scheme, config = _scheme(args)
    if scheme is None:
        raise ValueError("drift needs a scheme: give --scheme NAME, or --config FILE with --trainer NAME")
    options: dict[str, Any] = {"progress": _progress(args)}
    if args.batches is not None:
        options |= {"method": "monte_carlo", "batches": args.batches, "rng": np.random.default_rng(0)}
    if args.log is None:
        return _drift_of_laws(args, scheme, config, options)
    return _drift_of_log(args, scheme, config, options)


def _drift_of_laws(args: Namespace, scheme: Scheme, config: ParsedConfig | None, options: dict[str, Any]) -> Answer:
    _refuse(args, LOG_ONLY, "is for a log; give --log LOG")
    if args.reward == LOGGED:
        raise ValueError(f"--reward {LOGGED} is for a log; give --log LOG")
    cap: int | None = args.max_tokens
    if cap is None and config is not None:
        cap = config.max_tokens
    needed = {"--solve-rate": args.solve_rate, "--right": args.right, "--wrong": args.wrong, "--max-tokens": cap}
    missing = [name for name, value in needed.items() if value is None]
    if missing or cap is None:
        raise ValueError(f"drift needs responses: give {', '.join(missing)}; or --log LOG to fit them")
    sigma = SIGMA if args.sigma is None else args.sigma
    policy = two_paths(solve_rate=args.solve_rate, right=lognormal(median=args.right, sigma=sigma),
                       wrong=lognormal(median=args.wrong, sigma=sigma), max_tokens=cap)
    found = drift(scheme, policy, **options)
    assumed = " (assumed)" if args.sigma is None else ""
    notes = [f"lengths are lognormal with median {args.right:g} tokens if right and {args.wrong:g} if wrong, and "
             f"standard deviation {sigma:g} of their logarithm{assumed}"]
    return _answer(found.sections(), found.plot, config, notes, verdict=f"{scheme.name}: {found.verdict}",
                   drift=found.to_dict(arrays=False))


def _drift_of_log(args: Namespace, scheme: Scheme, config: ParsedConfig | None, options: dict[str, Any]) -> Answer:
    _refuse(args, LAWS, "is for laws of length; leave it out, or leave out --log")
    rollouts, reading, cap, notes = _read(args, config)
    if args.correct_above is not None:
        rollouts = replace(rollouts, correct=np.asarray(rollouts.rewards > args.correct_above))
        notes.append(f"grades are read off the rewards: above {args.correct_above:g} is correct")
    if args.needed is not None and len(args.needed) > 1:
        checks.fail("--needed", args.needed, "must be one share where a policy is fitted", "ask for each by itself")
    needed = None if args.needed is None else args.needed[0]
    fitted = fit(rollouts, paths=args.paths or "outcome", needed=needed, max_tokens=cap,
                 **_given(replicates=args.replicates))
    if args.reward == LOGGED:
        scheme = replace(scheme, reward=fitted.reward)
    if args.reward is None:
        notes.append(f"{scheme.reward.text}, whatever the log paid; --reward {LOGGED} pays the means of the log")
    found = fitted.drift(scheme, **options)
    said = found.sections() | {"scheme": wrapped("scheme", scheme.slots)}
    said |= {name: lines for name, lines in fitted.sections().items() if name != "notes"}  # the drift has them
    said |= reading.sections()
    return _answer(said, found.drift.plot, config, notes, verdict=f"{scheme.name}: {found.verdict}",
                   drift=found.to_dict(arrays=False), fit=fitted.to_dict(), reading=reading.to_dict())


def _answer(said: Sections, plot: Callable[[], Figure], config: ParsedConfig | None, notes: list[str],
            **payload: Any) -> Answer:
    """An answer with its notes, that ends with what became of the config's settings."""
    said["notes"] += noted(notes)
    if config is not None:
        said |= {name: lines for name, lines in config.sections().items() if name != "scheme"}
    settings = None if config is None else config.to_dict()
    return Answer(page(said), {**payload, "config": settings, "notes": notes}, plot)


def list_presets(_: Namespace) -> Answer:
    """``lossim presets``: every preset with its slots."""
    said: Sections = {}
    payload = {}
    for name, preset in presets().items():
        needs = _needs(preset)
        scheme = preset(**dict.fromkeys(needs, 0.5))
        heading = name
        if needs:
            heading += f"  needs {', '.join(f'{each} (0.5 here)' for each in needs)}"
        said[name] = [heading, *wrapped("", scheme.slots)]
        summary = (inspect.getdoc(preset) or "").partition("\n\n")[0]
        payload[name] = {"slots": describe_scheme(scheme), "needs": list(needs), "summary": summary}
    return Answer(text=page(said), payload=payload)


# --- schemes ----------------------------------------------------------------------------------------------------


def _scheme(args: Namespace) -> tuple[Scheme | None, ParsedConfig | None]:
    """The scheme that was asked for by name or by config, if any."""
    if args.config is None:
        _refuse(args, CONFIG_ONLY, "is for a config; give --config FILE")
        if args.scheme is None:
            return None, None
        return _preset("--scheme", args.scheme, _reward(args)), None
    if args.trainer is None:
        raise ValueError(f"--config needs --trainer: {either(PARSERS)}")
    source = Path(args.config) if os.path.exists(args.config) else args.config
    config = read_config(source, trainer=args.trainer, algorithm=args.algorithm, processes=args.processes,
                         reward=_reward(args), **_given(unsupported=args.unsupported, ignore=args.ignore))
    return config.scheme, config


def _reward(args: Namespace) -> Reward | None:
    """The reward that was given by numbers."""
    return None if args.reward == LOGGED else args.reward


def _preset(option: str, name: str, reward: Reward | None) -> Scheme:
    preset = presets()[checks.choice(option, name, presets())]
    needs = _needs(preset)
    if needs:
        raise ValueError(f"{option} {name} needs {', '.join(needs)}, which the command line does not take; use Python, "
                         f"lossim.schemes.{name}({needs[0]}=...)")
    return preset(**_given(reward=reward))


def _needs(preset: Callable[..., Scheme]) -> tuple[str, ...]:
    """Arguments of a preset that have no default."""
    return tuple(name for name, each in inspect.signature(preset).parameters.items() if each.default is each.empty)


def _compared(args: Namespace, own: Scheme | None) -> tuple[list[Scheme], list[str]]:
    """The presets to set beside, and what there is to say of them."""
    if args.compare is None and own is not None:
        return [], []
    names = ["all"]
    if args.compare is not None:
        names = [word.strip() for word in args.compare.split(",")]
    notes = []
    if names == ["all"]:
        missing = {name: _needs(preset) for name, preset in presets().items() if _needs(preset)}
        names = [name for name in presets() if name not in missing]
        notes = [f"{name} is left out: it needs {', '.join(needs)}, which a log does not hold"
                 for name, needs in missing.items()]
    beside = [name for name in dict.fromkeys(names) if own is None or name != own.name]
    return [_preset("--compare", name, _reward(args)) for name in beside], notes


UNDECIDED = 2.0
WAYS = {1.0: ("responses get longer", "longer"), -1.0: ("responses get shorter", "shorter"),
        0.0: ("no drift of mean length beyond the noise of this log",) * 2,
        UNDECIDED: ("undecided by what the log does not tell",) * 2}
"""Which way length goes, as the first words of a sentence and further on, by the sign of the drift."""


def _comparison(findings: Sequence[Finding]) -> str:
    """Schemes side by side, in one sentence."""
    count = len(findings)
    if not any(np.any(each.drift.update.value) for each in findings):
        return f"nothing moves under any of the {count} presets"

    # how many go which way
    signs = [UNDECIDED if each.undecided else float(np.sign(float(each.length))) * each.significant
             for each in findings]
    found = [(words, signs.count(sign)) for sign, words in WAYS.items() if sign in signs]
    (first, number), *others = found
    said = f"{first[0]} under {number} of {count} presets" if others else f"{first[0]} under all {count} presets"
    said += "".join(f", {words[1]} under {more}" for words, more in others)

    # from the least to the largest drift
    known = [(float(each.length_per_kl), each.name) for each in findings if np.isfinite(float(each.length_per_kl))]
    ends = [f"{value:+.3g} ({name})" for value, name in sorted(known, key=itemgetter(0))]
    if not ends:
        return said
    span = ends[0] if len(ends) == 1 else f"from {ends[0]} to {ends[-1]}"
    return f"{said}: {span} tokens in a step of 0.01 nats"


# --- logs -------------------------------------------------------------------------------------------------------


def _read(args: Namespace, config: ParsedConfig | None) -> tuple[Rollouts, Reading, int | None, list[str]]:
    """A log, how it was read, its cap where that had to be said, and what there is to say of both."""
    tokenizer = None if args.tokenizer is None else _function(args.tokenizer)
    if args.correct_above is not None:
        checks.finite("--correct-above", args.correct_above)
    theirs = None if config is None else config.max_tokens
    known: int | None = args.max_tokens
    if known is None and tokenizer is not None:
        known = theirs  # text does not tell its length without the cap: the stop token is not in it
    columns = _columns(args.column)
    reader = Rollouts.read if args.format is None else getattr(Rollouts, f"from_{args.format}")
    rollouts: Rollouts = reader(args.log, columns=columns, tokenizer=tokenizer, max_tokens=known,
                                progress=_progress(args), **_given(on_error=args.on_error))
    reading = rollouts.reading
    assert reading is not None
    if args.correct_above is not None and rollouts.correct is not None:
        raise ValueError("--correct-above is for a log without grades, and this one has them; leave it out, or pass "
                         "them over with --column correct=")
    if known is None and rollouts.truncated is None and theirs is not None:
        longest = int(rollouts.lengths.max())
        if longest > theirs:
            raise ValueError(f"the config cuts responses at {theirs:,} tokens, and the log has one of {longest:,}; "
                             "give --max-tokens, the cap that the log was drawn under")
        known = theirs

    # what the log leaves open, and the config tells
    notes = []
    chosen = {code(choice) for choice in reading.choices}
    weights = [] if config is None else [entry.value for entry in config.approximated if entry.key == "reward_weights"]
    if weights and "reward sum" in chosen and "reward" not in (columns or {}):
        notes.append(f"the config weighs rewards by {weights[0]}, and the columns of the log are summed as they are; "
                     "weigh them with --column reward=WEIGHT*NAME")
    if known is not None and args.max_tokens is None and not chosen.isdisjoint(("cut by length", "cuts unknown")):
        notes.append(f"max_tokens is that of the config, {known:,}")
    return rollouts, reading, known, notes


def _columns(given: Sequence[str] | None) -> dict[str, Any] | None:
    """``FIELD=NAME`` by field; rewards may be several, with weights."""
    if not given:
        return None
    columns: dict[str, Any] = {}
    for text in given:
        field, equals, name = text.partition("=")
        if not equals:
            checks.fail("--column", text, "must be FIELD=NAME", "for example length=completion_length")
        if field == "reward" and name:
            weight, _, column = name.partition("*")
            if column and re.fullmatch(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?", weight):
                columns.setdefault(field, {})[column] = float(weight)
            else:
                columns.setdefault(field, {})[name] = 1.0
        elif field in columns:
            checks.fail("--column", text, f"must give {field} once")
        else:
            columns[field] = name or None
    return columns


def _function(name: str) -> Callable[[str], Any]:
    """``module:function``, found from the current folder too."""
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        checks.fail("--tokenizer", name, "must be MODULE:FUNCTION", "for example my_tokenizer:count")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ImportError(f"--tokenizer {name}: importing {module} raised {type(error).__name__}: {error}") from error
    try:
        function = reduce(getattr, path.split("."), found)
    except AttributeError:
        checks.fail("--tokenizer", name, f"must name something in {module}", checks.nearest(path, dir(found)))
    if not callable(function):
        checks.fail("--tokenizer", name, f"must name a function, not {type(function).__name__}", error=TypeError)

    def guarded(text: str) -> Any:
        try:
            return function(text)
        except Exception as error:
            raise ValueError(f"--tokenizer {name} raised {type(error).__name__}: {error}, for {text[:60]!r}") from error

    return guarded


# --- options ----------------------------------------------------------------------------------------------------


def _progress(args: Namespace) -> bool:
    return bool(args.progress or (sys.stderr.isatty() and not args.quiet))


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given: others keep the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _refuse(args: Namespace, names: Sequence[str], why: str) -> None:
    """Options that would have no effect are errors."""
    for name in names:
        if getattr(args, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} {why}")
