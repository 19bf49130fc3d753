"""What the commands compute: from parsed arguments to an answer as text, as plain values, and as a figure."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lossim._auditing import Finding, audit
from lossim._engine import describe_scheme, drift, wrapped
from lossim._fitting import fit
from lossim._support import checks
from lossim.configs import ParsedConfig, read_config
from lossim.lengths import lognormal
from lossim.policies import two_paths
from lossim.rewards import Reward
from lossim.rollouts import Reading, Rollouts, reward_levels
from lossim.schemes import Scheme, presets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LOGGED", "Answer", "audit_log", "drift_of", "list_presets"]

LOGGED = "logged"
SIGMA = 0.7
CONFIG_ONLY = ("trainer", "algorithm", "processes", "unsupported", "ignore")
LOG_ONLY = ("column", "tokenizer", "format", "correct_above", "on_error", "paths", "replicates")
LAWS = ("solve_rate", "right", "wrong", "sigma")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command prints: text, or ``payload`` as JSON; and what it draws."""

    text: str
    payload: dict[str, Any]
    plot: Callable[[], Figure] | None = None


def audit_log(args: Namespace) -> Answer:
    """``lossim audit``: what schemes do on a log."""
    own, config = _scheme(args)
    named, notes = _compared(args, own)
    given: Reward | None = None if args.reward == LOGGED else args.reward
    if given is not None and config is not None:
        given = config.scheme.reward  # with the length penalties of the config
    rollouts, cap = _read(args, args.log, config, notes)
    paths: Literal["outcome", "one"] = args.paths or "outcome"
    ungraded = rollouts.correct is None and args.correct_above is None
    if args.paths is None and ungraded and len(reward_levels(rollouts)) == 1:
        paths = "one"
        notes.append("all rewards are equal and there are no grades: right and wrong responses share one path")
    found = audit(rollouts, [*([] if own is None else [own]), *named], reward=given, paths=paths, max_tokens=cap,
                  correct_above=args.correct_above, progress=_progress(args), **_given(replicates=args.replicates))
    verdict = _comparison(found.findings) if own is None and len(named) > 1 else found.verdict
    parts = [verdict + str(found).removeprefix(found.verdict), *(f"  note: {note}" for note in notes)]
    assert rollouts.reading is not None
    parts += _left_out(rollouts.reading) + _about(config, slots=len(found.findings) > 1)
    return Answer(text="\n".join(parts), plot=found.plot, payload={
        "verdict": verdict, "audit": found.to_dict(), "reading": rollouts.reading.to_dict(),
        "config": None if config is None else config.to_dict(), "notes": notes})


def drift_of(args: Namespace) -> Answer:
    """``lossim drift``: what a scheme does to a policy, given by laws of length or fitted to a log."""
    scheme, config = _scheme(args)
    if scheme is None:
        raise ValueError("drift needs a scheme: give --scheme NAME, or --config FILE with --trainer NAME")
    sampling = {} if args.batches is None else {"method": "monte_carlo", "batches": args.batches,
                                                "rng": np.random.default_rng(0)}
    return (_drift_of_laws if args.log is None else _drift_of_log)(args, scheme, config, sampling)


def _drift_of_laws(args: Namespace, scheme: Scheme, config: ParsedConfig | None, sampling: dict[str, Any]) -> Answer:
    _refuse(args, LOG_ONLY, "is for a log; give --log LOG")
    if args.reward == LOGGED:
        raise ValueError(f"--reward {LOGGED} is for a log; give --log LOG")
    cap: int | None = args.max_tokens if args.max_tokens is not None or config is None else config.max_tokens
    missing = [name for name, value in {"--solve-rate": args.solve_rate, "--right": args.right, "--wrong": args.wrong,
                                        "--max-tokens": cap}.items() if value is None]
    if missing or cap is None:
        raise ValueError(f"drift needs responses: give {', '.join(missing)}; or --log LOG to fit them")
    sigma = SIGMA if args.sigma is None else args.sigma
    policy = two_paths(solve_rate=args.solve_rate, right=lognormal(median=args.right, sigma=sigma),
                       wrong=lognormal(median=args.wrong, sigma=sigma), max_tokens=cap)
    found = drift(scheme, policy, progress=_progress(args), **sampling)
    notes = [f"lengths are lognormal with median {args.right:g} tokens if right and {args.wrong:g} if wrong, and "
             f"standard deviation {sigma:g} of their logarithm" + (" (assumed)" if args.sigma is None else "")]
    text = "\n".join([str(found), *(f"  note: {note}" for note in notes), *_about(config, slots=False)])
    return Answer(text=text, plot=found.plot, payload={
        "verdict": f"{scheme.name}: {found.verdict}", "drift": found.to_dict(arrays=False),
        "config": None if config is None else config.to_dict(), "notes": notes})


def _drift_of_log(args: Namespace, scheme: Scheme, config: ParsedConfig | None, sampling: dict[str, Any]) -> Answer:
    _refuse(args, LAWS, "is for laws of length; leave it out, or leave out --log")
    notes: list[str] = []
    rollouts, cap = _read(args, args.log, config, notes)
    reading = rollouts.reading
    assert reading is not None
    if args.correct_above is not None:
        rollouts = replace(rollouts, correct=np.asarray(rollouts.rewards > args.correct_above))
        notes.append(f"grades are read off the rewards: above {args.correct_above:g} is correct")
    fitted = fit(rollouts, paths=args.paths or "outcome", max_tokens=cap, **_given(replicates=args.replicates))
    if args.reward == LOGGED:
        scheme = replace(scheme, reward=fitted.reward)
    if args.reward is None:
        notes.append(f"{scheme.reward.text}, whatever the log paid; --reward {LOGGED} pays the means of the log")
    found = fitted.drift(scheme, progress=_progress(args), **sampling)
    about_fit = [line for line in str(fitted).splitlines() if not line.startswith("  note: ")]  # the drift has them
    text = "\n".join([str(found), *(f"  note: {note}" for note in notes), *wrapped("scheme", scheme.slots), *about_fit,
                      str(reading), *_about(config, slots=False)])
    return Answer(text=text, plot=found.drift.plot, payload={
        "verdict": f"{scheme.name}: {found.verdict}", "drift": found.to_dict(arrays=False), "fit": fitted.to_dict(),
        "reading": reading.to_dict(), "config": None if config is None else config.to_dict(), "notes": notes})


def list_presets(_: Namespace) -> Answer:
    """``lossim presets``: every preset with its slots."""
    lines, payload = [], {}
    for name, preset in presets().items():
        needs = _needs(preset)
        scheme = preset(**dict.fromkeys(needs, 0.5))
        lines += [f"{name}{'  needs ' + ', '.join(f'{each} (0.5 here)' for each in needs) if needs else ''}",
                  *wrapped("", scheme.slots)]
        payload[name] = {"slots": describe_scheme(scheme), "needs": list(needs),
                         "summary": (inspect.getdoc(preset) or "").partition("\n\n")[0]}
    return Answer(text="\n".join(lines), payload=payload)


# --- schemes ----------------------------------------------------------------------------------------------------


def _scheme(args: Namespace) -> tuple[Scheme | None, ParsedConfig | None]:
    """The scheme that was asked for by name or by config, if any."""
    reward = None if args.reward == LOGGED else args.reward
    if args.config is None:
        _refuse(args, CONFIG_ONLY, "is for a config; give --config FILE")
        return (None if args.scheme is None else _preset("--scheme", args.scheme, reward)), None
    if args.trainer is None:
        raise ValueError("--config needs --trainer: trl, verl or openrlhf")
    source = Path(args.config) if os.path.exists(args.config) else args.config
    config = read_config(source, trainer=args.trainer, algorithm=args.algorithm, processes=args.processes,
                         reward=reward, **_given(unsupported=args.unsupported, ignore=args.ignore))
    return config.scheme, config


def _preset(option: str, name: str, reward: Reward | None) -> Scheme:
    preset = presets()[checks.choice(option, name, presets())]
    if needs := _needs(preset):
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
    words = [word.strip() for word in ("all" if args.compare is None else args.compare).split(",")]
    names, notes = words, []
    if words == ["all"]:
        missing = {name: _needs(preset) for name, preset in presets().items() if _needs(preset)}
        names = [name for name in presets() if name not in missing]
        notes = [f"{name} is left out: it needs {', '.join(needs)}, which a log does not hold"
                 for name, needs in missing.items()]
    reward = None if args.reward == LOGGED else args.reward
    beside = [name for name in dict.fromkeys(names) if own is None or name != own.name]
    return [_preset("--compare", name, reward) for name in beside], notes


def _comparison(findings: Sequence[Finding]) -> str:
    """Schemes side by side, in one sentence."""
    moved = sorted((each for each in findings if np.isfinite(float(each.length_per_kl))),
                   key=lambda each: float(each.length_per_kl))
    if not any(np.any(each.drift.update.value) for each in findings):
        return f"nothing moves under any of the {len(findings)} presets"
    drifts = [np.sign(float(each.length)) * each.significant for each in findings]
    ways = {"longer": drifts.count(1.0), "shorter": drifts.count(-1.0),
            "no drift of mean length beyond the noise of this log": drifts.count(0.0)}
    (way, count), *others = ((way, count) for way, count in ways.items() if count)
    said = f"{'' if way.startswith('no') else 'responses get '}{way} under "
    said += f"{count} of {len(findings)} presets" if others else f"all {count} presets"
    said += "".join(f", {way} under {count}" for way, count in others)
    if not moved:
        return said
    first, last = (f"{float(each.length_per_kl):+.3g} ({each.name})" for each in (moved[0], moved[-1]))
    return f"{said}: {first if len(moved) == 1 else f'from {first} to {last}'} tokens in a step of 0.01 nats"


# --- logs -------------------------------------------------------------------------------------------------------


def _read(args: Namespace, log: Sequence[str], config: ParsedConfig | None, notes: list[str]
          ) -> tuple[Rollouts, int | None]:
    """The log, and its cap where that had to be said."""
    tokenizer = None if args.tokenizer is None else _function(args.tokenizer)
    if args.correct_above is not None:
        checks.finite("--correct-above", args.correct_above)
    theirs = None if config is None else config.max_tokens
    known: int | None = args.max_tokens
    if known is None and tokenizer is not None:
        known = theirs  # text does not tell its length without the cap: the stop token is not in it
    reader = Rollouts.read if args.format is None else getattr(Rollouts, f"from_{args.format}")
    columns = _columns(args.column)
    rollouts: Rollouts = reader(log, columns=columns, tokenizer=tokenizer, max_tokens=known,
                                progress=_progress(args), **_given(on_error=args.on_error))
    if args.correct_above is not None and rollouts.correct is not None:
        raise ValueError("--correct-above is for a log without grades, and this one has them; leave it out, or pass "
                         "them over with --column correct=")
    if known is None and rollouts.truncated is None and theirs is not None:
        longest = int(rollouts.lengths.max())
        if longest > theirs:
            raise ValueError(f"the config cuts responses at {theirs:,} tokens, and the log has one of {longest:,}; "
                             "give --max-tokens, the cap that the log was drawn under")
        known = theirs
    weights = [] if config is None else [entry.value for entry in config.approximated if entry.key == "reward_weights"]
    assert rollouts.reading is not None
    chosen = rollouts.reading.choices
    if weights and any(choice.startswith("reward: sum of") for choice in chosen) and "reward" not in (columns or {}):
        notes.append(f"the config weighs rewards by {weights[0]}, and the columns of the log are summed as they are; "
                     "weigh them with --column reward=WEIGHT*NAME")
    unsaid = any(choice.startswith(("truncated: where", "truncated: unknown")) for choice in chosen)
    if unsaid and known is not None and args.max_tokens is None:
        notes.append(f"max_tokens is that of the config, {known:,}")
    return rollouts, known


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
            weight = re.fullmatch(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\*(.+)", name)
            columns.setdefault(field, {})[weight[2] if weight else name] = float(weight[1]) if weight else 1.0
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
        near = difflib.get_close_matches(path, dir(found), n=1)
        checks.fail("--tokenizer", name, f"must name something in {module}",
                    f"did you mean {near[0]!r}?" if near else "")
    if not callable(function):
        checks.fail("--tokenizer", name, f"must name a function, not {type(function).__name__}", error=TypeError)

    def guarded(text: str) -> Any:
        try:
            return function(text)
        except Exception as error:
            raise ValueError(f"--tokenizer {name} raised {type(error).__name__}: {error}, for {text[:60]!r}") from error

    return guarded


# --- text -------------------------------------------------------------------------------------------------------


def _left_out(reading: Reading) -> list[str]:
    """Rows that could not be read, by reason, and the first of them."""
    return str(replace(reading, choices=())).splitlines()[1:]


def _about(config: ParsedConfig | None, *, slots: bool) -> list[str]:
    """What became of the config's settings; with the slots of its scheme where nothing else has printed them."""
    if config is None:
        return []
    return [*(wrapped("scheme", config.scheme.slots) if slots else []),
            str(config).removeprefix(f"{config.scheme}\n")]


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
