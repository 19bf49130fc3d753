"""What every public constructor takes: a table of arguments that work and the kind of each."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

import lossim as ls
from lossim import (
    advantages,
    aggregation,
    critics,
    formulas,
    lengths,
    optimizers,
    penalties,
    rewards,
    schemes,
    selection,
    surrogates,
)

LAW = lengths.geometric(mean=5)
PATH = ls.Path("path", length=LAW, p_correct=0.5)
CLASS = ls.PromptClass("class", paths=[PATH])
POLICY = ls.policies.two_paths(solve_rate=0.4, right=LAW, wrong=LAW, max_tokens=8)
SCHEME = schemes.grpo(prompts_per_step=2)
UNSETTLED = schemes.Unsettled(unknown="version", options=(("1", {}), ("2", {"group_size": 4}), ("3", None)))

# ---- what an argument may take ----


@dataclass(frozen=True)
class Kind:
    """A rule for one value: ``takes`` decides, ``good`` gives some that it must take."""

    takes: Callable[[Any], bool]
    good: tuple[Any, ...]


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Kind:
    """A finite real number in [low, high], or above low."""
    def takes(value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            return False
        try:
            x = float(value)
        except OverflowError:
            return False
        return math.isfinite(x) and low <= x <= high and not (above and x == low)

    edges = [x for x in (low, high) if math.isfinite(x) and not (above and x == low)]
    inside = 0.5 * (low + high) if math.isfinite(low + high) else low + 1.5 if math.isfinite(low) else -0.5
    return Kind(takes, (*edges, inside, np.float64(inside)))


def whole(low: int = 1, high: int = 2**53) -> Kind:
    def takes(value: Any) -> bool:
        return (isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= value <= high)

    return Kind(takes, (low, low + 3, np.int64(low + 1)))


def word(*words: str) -> Kind:
    return Kind(lambda value: isinstance(value, str) and value in words, words)


def instance(kind: Any, *good: Any) -> Kind:
    return Kind(lambda value: isinstance(value, kind), good)


def either(*kinds: Kind) -> Kind:
    return Kind(lambda value: any(kind.takes(value) for kind in kinds),
                tuple(value for kind in kinds for value in kind.good))


def numbers_of(shape: tuple[int | None, ...], low: float = -math.inf, high: float = math.inf) -> Kind:
    """Finite numbers of a shape (None: at least one)."""
    def takes(value: Any) -> bool:
        array = as_numbers(value)
        if array is None or array.ndim != len(shape):
            return False
        sizes = all(n > 0 if want is None else n == want for n, want in zip(array.shape, shape, strict=True))
        return bool(sizes and np.isfinite(array).all() and (array >= low).all() and (array <= high).all())

    some = np.full([2 if n is None else n for n in shape], np.clip(0.5, low, high))
    return Kind(takes, (some, some.tolist()))


def as_numbers(value: Any) -> np.ndarray[Any, Any] | None:
    """Numbers of any shape as an array, or None."""
    try:
        array = np.asarray(value)
        real = array.dtype.kind in "biuf" or (
            array.dtype.kind == "O" and all(isinstance(entry, numbers.Real) for entry in array.ravel()))
        return array.astype(float) if real else None
    except (ValueError, OverflowError):
        return None


def numeric(low: float = -math.inf, high: float = math.inf, *, scalars: bool = True) -> Kind:
    """Numbers of any shape in [low, high]; a single bool is no number."""
    def takes(value: Any) -> bool:
        array = as_numbers(value)
        if array is None or (not scalars and array.ndim == 0):
            return False
        return bool(np.isfinite(array).all() and (array >= low).all() and (array <= high).all())

    return Kind(takes, ([0.5, 1.0], np.full((2, 2), 0.5)))


NOTHING = Kind(lambda value: value is None, (None,))
FLAG = instance((bool, np.bool_), True, False, np.True_)
TEXT = instance(str, "x")
FINITE, POSITIVE, NOT_NEGATIVE, PROBABILITY = number(), number(0.0, above=True), number(0.0), number(0.0, 1.0)
BELOW_ONE = math.nextafter(1.0, 0.0)
REWARD = instance(ls.Reward, ls.Reward(), ls.Reward(incorrect=-1.0))
CRITIC = instance(critics.Critic, critics.Zero())
LENGTH = instance(lengths.Length, LAW, lengths.lognormal(median=3, sigma=1))
SIZE = whole(high=10_000)  # what is made of them takes memory: larger ones are not tried
COORDINATES = Kind(lambda value: hasattr(value, "lay_out") and not isinstance(value, type), (ls.coordinates(bins=2),))
RULE = instance(aggregation.Aggregation, aggregation.TokenSum())


def sequence_of(kind: Any, *good: Any) -> Kind:
    return Kind(lambda value: isinstance(value, Sequence) and not isinstance(value, (str, bytes))
                and all(isinstance(entry, kind) for entry in value), good)


def named_slots(value: Any) -> bool:
    """A name, and slots of a scheme or None."""
    return len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict | None)


@dataclass(frozen=True)
class Maker:
    """A public callable with arguments that work, and the kind of each."""

    call: Callable[..., Any]
    good: dict[str, Any]
    kinds: dict[str, Kind]


def preset(name: str, **more: Any) -> Maker:
    """A preset; its common arguments have the same kinds everywhere."""
    call = getattr(schemes, name)
    common = {"reward": (ls.Reward(), REWARD), "prompts_per_step": (3, whole()), "group_size": (2, whole(2)),
              "eps": (1e-6, NOT_NEGATIVE), "kl": (0.0, NOT_NEGATIVE)}
    for argument in sorted(common.keys() & (call.__kwdefaults__ or {}).keys()):
        more.setdefault(argument, common[argument])
    return Maker(call, {a: v for a, (v, _) in more.items()}, {a: k for a, (_, k) in more.items()})


def positional(call: Callable[..., Any], first: str) -> Callable[..., Any]:
    return lambda **given: call(given.pop(first), **given)


CLIP = {"low": NOT_NEGATIVE, "high": NOT_NEGATIVE}
COUNTING = {"counting": word("all", "kept")}
ASCENT, AT_START = optimizers.SGD(learning_rate=1.0), optimizers.SGD(learning_rate=1.0).start((2,))
UPDATES = {"learning_rate": NOT_NEGATIVE, "max_norm": either(NOTHING, POSITIVE), "schedule": Kind(
    lambda x: x is None or (callable(x) and not isinstance(x, type)), (None, optimizers.warmup(3), abs))}
MAKERS: dict[str, Maker] = {
    # lengths
    "geometric": Maker(lengths.geometric, {"mean": 3.0}, {"mean": number(1.0)}),
    "lognormal": Maker(lengths.lognormal, {"median": 3.0, "sigma": 1.0}, {"median": POSITIVE, "sigma": POSITIVE}),
    "table": Maker(lengths.table, {"hazard": [0.5]}, {"hazard": numbers_of((None,), 0.0, 1.0)}),
    "from_logits": Maker(lengths.from_logits, {"logits": [0.5]}, {
        "logits": Kind(lambda x: as_numbers(x) is not None and np.ndim(x) == 1 and len(x) > 0
                       and not np.isnan(as_numbers(x)).any(), ([0.5, math.inf], [-math.inf]))}),
    "observed": Maker(lengths.observed, {"lengths": [1], "truncated": None}, {
        "lengths": Kind(lambda x: numbers_of((None,), 1.0).takes(x) and not (np.asarray(x) % 1).any(), ([3, 4],)),
        "truncated": either(NOTHING, Kind(lambda x: numbers_of((1,)).takes(x) and np.asarray(x).dtype == bool,
                                          ([True],)))}),
    "from_scipy": Maker(lengths.from_scipy, {"dist": stats.expon()}, {
        "dist": Kind(lambda x: hasattr(x, "logsf"), (stats.gamma(2.0, scale=3.0),))}),
    # rewards
    "Reward": Maker(ls.Reward, {"correct": 1.0, "incorrect": 0.0, "truncated": None, "shaping": None}, {
        "correct": FINITE, "incorrect": FINITE, "truncated": either(NOTHING, FINITE), "shaping": Kind(
            lambda x: x is None or all(callable(each) and not isinstance(each, type)
                                       for each in (x if isinstance(x, (list, tuple)) else (x,))),
            (None, (), rewards.MissingEOS(penalty=1.0), abs, [abs]))}),
    "LinearPenalty": Maker(rewards.LinearPenalty, {"slope": 0.1, "free": 0.0}, {"slope": FINITE, "free": NOT_NEGATIVE}),
    "SoftOverlong": Maker(rewards.SoftOverlong, {"max_tokens": 8.0, "buffer": 4.0, "factor": 1.0, "capped": True}, {
        "max_tokens": number(4.0), "buffer": number(0.0, 8.0, above=True), "factor": NOT_NEGATIVE,
        "capped": instance(bool, False)}),
    "Cosine": Maker(rewards.Cosine, {"max_tokens": 8.0, "correct": (2, 1), "incorrect": (0, 0), "exceed": None}, {
        "max_tokens": POSITIVE, "correct": numbers_of((2,)), "incorrect": numbers_of((2,)),
        "exceed": either(NOTHING, FINITE)}),
    "Discount": Maker(rewards.Discount, {"gamma": 0.9}, {"gamma": PROBABILITY}),
    "MissingEOS": Maker(rewards.MissingEOS, {"penalty": 1.0}, {"penalty": FINITE}),
    "StopProperly": Maker(rewards.StopProperly, {"coefficient": 0.5}, {"coefficient": FINITE}),
    "KimiLength": Maker(rewards.KimiLength, {"weight": 1.0}, {"weight": FINITE}),
    "LengthZScore": Maker(rewards.LengthZScore, {"alpha": 0.5}, {"alpha": PROBABILITY}),
    "ALP": Maker(rewards.ALP, {"beta": 0.01}, {"beta": FINITE}),
    "PassRateLength": Maker(rewards.PassRateLength, {"weight": 0.25}, {"weight": FINITE}),
    "Laser": Maker(rewards.Laser, {"target": 4.0, "alpha": 0.5}, {"target": number(1.0), "alpha": FINITE}),
    "LaserD": Maker(rewards.LaserD, {"easy": 2.0, "medium": 3.0, "hard": 4.0, "alpha": 0.5}, {
        **dict.fromkeys(("easy", "medium", "hard"), number(1.0)), "alpha": FINITE}),
    "ShorterBetter": Maker(rewards.ShorterBetter, {"beta": 0.01}, {"beta": FINITE}),
    "LCPOExact": Maker(rewards.LCPOExact, {"alpha": 0.01}, {"alpha": FINITE}),
    "LCPOMax": Maker(rewards.LCPOMax, {"alpha": 0.01, "delta": 0.5}, {"alpha": NOT_NEGATIVE, "delta": PROBABILITY}),
    "GR3": Maker(rewards.GR3, {"alpha": 0.5}, {"alpha": NOT_NEGATIVE}),
    # advantages and critics
    "Raw": Maker(advantages.Raw, {"baseline": 0.0}, {"baseline": either(FINITE, numbers_of((None,)))}),
    "GroupMean": Maker(advantages.GroupMean, {"group_of_one": "zero"}, {"group_of_one": word("zero", "raw")}),
    "LeaveOneOut": Maker(advantages.LeaveOneOut, {"group_of_one": "zero"}, {"group_of_one": word("zero", "raw")}),
    "LeaveOneOutStandardized": Maker(advantages.LeaveOneOutStandardized, {"eps": 1e-6}, {"eps": NOT_NEGATIVE}),
    "OPO": Maker(advantages.OPO, {"group_of_one": "zero"}, {"group_of_one": word("zero", "raw")}),
    "GPG": Maker(advantages.GPG, {"group_of_one": "raw"}, {"group_of_one": word("zero", "raw")}),
    "MaxRL": Maker(advantages.MaxRL, {"eps": 1e-6, "group_of_one": "raw"}, {
        "eps": NOT_NEGATIVE, "group_of_one": word("zero", "raw")}),
    "PassK": Maker(advantages.PassK, {"standardize": True, "eps": 1e-6}, {"standardize": FLAG, "eps": NOT_NEGATIVE}),
    "GroupStandardized": Maker(
        advantages.GroupStandardized, {"ddof": 1, "eps": 1e-6, "scope": "group", "group_of_one": "raw"},
        {"ddof": Kind(lambda x: whole(0, 1).takes(x), (0, 1)), "eps": NOT_NEGATIVE, "scope": word("group", "batch"),
         "group_of_one": word("zero", "raw")}),
    "PositiveOnly": Maker(advantages.PositiveOnly, {"inner": advantages.Raw()}, {
        "inner": instance(advantages.ResponseAdvantage, advantages.OPO())}),
    "LengthAdaptive": Maker(advantages.LengthAdaptive, {"alpha": 0.05}, {"alpha": POSITIVE}),
    "GAE": Maker(advantages.GAE, {"gamma": 1.0, "gae_lambda": 0.9, "critic": critics.Zero(),
                                  "bootstrap_truncated": False}, {
        "gamma": PROBABILITY, "gae_lambda": either(PROBABILITY, instance(advantages.LengthAdaptive,
                                                                        advantages.LengthAdaptive())),
        "critic": CRITIC, "bootstrap_truncated": FLAG}),
    "Whitened": Maker(advantages.Whitened, {"inner": advantages.Raw(), "scale": True, "eps": 1e-8, "ddof": 1}, {
        "ddof": Kind(lambda x: whole(0, 1).takes(x), (0, 1)),
        "inner": instance((advantages.ResponseAdvantage, advantages.GAE), advantages.GAE(), advantages.OPO()),
        "scale": FLAG, "eps": NOT_NEGATIVE}),
    "Constant": Maker(critics.Constant, {"value": 1.0}, {"value": FINITE}),
    "Linear": Maker(critics.Linear, {"level": 1.0, "slope": 0.1}, {"level": FINITE, "slope": FINITE}),
    "Exact": Maker(critics.Exact, {"per": "cell", "bias": 0.0}, {"per": word("cell", "class"), "bias": FINITE}),
    "Table": Maker(critics.Table, {"table": [[1.0]]}, {"table": numbers_of((None, None))}),
    "LearnedTable": Maker(
        critics.LearnedTable, {"rate": 0.1, "start": 0.0, "per": "class", "gae_lambda": 1.0, "pretrain": 0},
        {"rate": PROBABILITY, "start": either(FINITE, numbers_of((None,)), numbers_of((None, None))),
         "per": word("cell", "class"), "gae_lambda": PROBABILITY, "pretrain": whole(0)}),
    "RunningMean": Maker(critics.RunningMean, {"rate": 0.1, "start": 0.0, "per": "class", "pretrain": 0}, {
        "rate": PROBABILITY, "start": FINITE, "per": word("class", "all"), "pretrain": whole(0)}),
    "LearnedLinear": Maker(
        critics.LearnedLinear, {"optimizer": ASCENT, "start": 0.0, "per": "class", "gae_lambda": 1.0, "pretrain": 0,
                                "knots": 8, "sharing": 0.0, "epochs": 1, "normalize": False},
        {"optimizer": instance(optimizers.Optimizer, ASCENT),
         "start": either(FINITE, numbers_of((None,)), numbers_of((None, None))), "per": word("cell", "class"),
         "gae_lambda": PROBABILITY, "pretrain": whole(0), "knots": either(whole(), word("table")),
         "sharing": PROBABILITY, "epochs": whole(), "normalize": FLAG}),
    "Scaled": Maker(critics.Scaled, {"critic": critics.Zero(), "factor": 0.5}, {
        "critic": Kind(lambda x: isinstance(x, critics.Critic) and not isinstance(x, critics.Learned),
                       (critics.Exact(),)), "factor": FINITE}),
    # surrogates, aggregation, penalties
    "PPOClip": Maker(surrogates.PPOClip, {"low": 0.2, "high": 0.2, "dual": None, "delta": None}, {
        **CLIP, "dual": either(NOTHING, number(1.0, above=True)), "delta": either(NOTHING, number(1.2, above=True))}),
    "CISPO": Maker(surrogates.CISPO, {"low": 1.0, "high": 4.0}, {"low": PROBABILITY, "high": NOT_NEGATIVE}),
    "SAPO": Maker(surrogates.SAPO, {"positive": 1.0, "negative": 1.0}, {"positive": POSITIVE, "negative": POSITIVE}),
    "GSPO": Maker(surrogates.GSPO, {"low": 0.1, "high": 0.1}, CLIP),
    "GMPO": Maker(surrogates.GMPO, {"low": 0.1, "high": 0.1}, CLIP),
    "VESPO": Maker(surrogates.VESPO, {"positive": (2.0, 3.0), "negative": (3.0, 2.0)}, {
        "positive": numbers_of((2,), low=0.0), "negative": numbers_of((2,), low=0.0)}),
    "OffPolicyMask": Maker(surrogates.OffPolicyMask, {"inner": surrogates.PPOClip(), "threshold": 0.1}, {
        "inner": Kind(lambda x: isinstance(x, surrogates.Surrogate) and not x.response_level,
                      (surrogates.CISPO(), surrogates.TOPR())), "threshold": NOT_NEGATIVE}),
    "SequenceMeanTokenMean": Maker(aggregation.SequenceMeanTokenMean, {"counting": "all"}, COUNTING),
    "SequenceMeanTokenSum": Maker(aggregation.SequenceMeanTokenSum, {"counting": "all"}, COUNTING),
    "ConstantNormalizer": Maker(aggregation.ConstantNormalizer, {"counting": "all", "constant": None}, {
        **COUNTING, "constant": either(NOTHING, POSITIVE)}),
    "TokenMean": Maker(aggregation.TokenMean, {"scope": "step"}, {"scope": word("step", "group")}),
    "TurnMean": Maker(aggregation.TurnMean, {"tokens_per_turn": 4.0, "scope": "response"}, {
        "tokens_per_turn": POSITIVE, "scope": word("response", "step")}),
    "BalancedTokenMean": Maker(aggregation.BalancedTokenMean, {}, {}),
    "LengthPower": Maker(aggregation.LengthPower, {"alpha": 0.5, "constant": None}, {
        "alpha": PROBABILITY, "constant": either(NOTHING, POSITIVE)}),
    "KL": Maker(penalties.KL, {"coefficient": 0.1, "estimator": "k1", "place": "reward", "content_per_token": 0.0,
                               "gradient": "own", "to": "reference"}, {
        "coefficient": NOT_NEGATIVE, "estimator": word("k1"), "place": word("loss", "reward"),
        "content_per_token": NOT_NEGATIVE, "gradient": word("own"), "to": word("reference")}),
    "KL in the loss": Maker(penalties.KL, {"coefficient": 0.1, "estimator": "k1", "place": "loss",
                                           "content_per_token": 0.0}, {
        "estimator": word("k1", "k2", "k3", "abs"), "content_per_token": number(0.0, 0.0)}),
    "Entropy": Maker(penalties.Entropy, {"coefficient": 0.1}, {"coefficient": FINITE}),
    # optimisers
    "SGD": Maker(optimizers.SGD, {"learning_rate": 0.1, "momentum": 0.0}, {
        **UPDATES, "momentum": number(0.0, BELOW_ONE)}),
    "AdamW": Maker(optimizers.AdamW, {"learning_rate": 0.1}, {
        **UPDATES, "betas": numbers_of((2,), 0.0, BELOW_ONE), "eps": NOT_NEGATIVE, "weight_decay": NOT_NEGATIVE}),
    "Ramp": Maker(optimizers.Ramp, {"steps": 3, "first": 1.0, "last": 0.0, "smooth": True}, {
        "steps": whole(), "first": NOT_NEGATIVE, "last": NOT_NEGATIVE, "smooth": FLAG}),
    "warmup": Maker(optimizers.warmup, {"steps": 3}, {"steps": whole()}),
    **{name: Maker(getattr(optimizers, name), {"steps": 3, "last": 0.0}, {"steps": whole(), "last": NOT_NEGATIVE})
       for name in ("cosine", "linear")},
    "factor": Maker(optimizers.cosine(3), {"count": 0}, {"count": whole(0)}),
    "rate": Maker(ASCENT.rate, {"count": 0}, {"count": whole(0)}),
    "start": Maker(ASCENT.start, {"shape": (2,)}, {"shape": Kind(
        lambda x: bool(sequence_of(numbers.Integral).takes(x) and len(x) and all(map(whole().takes, x))),
        ((2, 3), [np.int64(4)]))}),
    "step": Maker(ASCENT.step, {"state": AT_START, "gradient": [0.0, 1.0], "position": np.zeros(2)}, {
        "state": instance(optimizers.State, AT_START), "gradient": numbers_of((2,)), "position": numbers_of((2,))}),
    # sentences
    "Scheme": Maker(ls.Scheme, {"reward": ls.Reward(), "advantage": advantages.Raw(), "name": "mine",
                                "surrogate": surrogates.PPOClip(), "aggregation": aggregation.TokenSum(),
                                "penalties": (), "truncation": "keep", "selection": None, "dynamic_sampling": "none",
                                "group_size": 2, "prompts_per_step": 2}, {
        "reward": REWARD, "aggregation": RULE, "surrogate": instance(surrogates.Surrogate, surrogates.SAPO()),
        "advantage": instance((advantages.ResponseAdvantage, advantages.GAE, advantages.Whitened), advantages.OPO()),
        "penalties": sequence_of((penalties.KL, penalties.Entropy), (), [penalties.Entropy(coefficient=0.1)]),
        "selection": either(NOTHING, instance(selection.Deadline, selection.Deadline(tokens=1e9))),
        "truncation": word("keep", "mask", "remove"), "dynamic_sampling": word("none", "drop", "resample"),
        "group_size": whole(), "prompts_per_step": whole(), "name": TEXT,
        "doubts": sequence_of(schemes.Unsettled, (), [UNSETTLED])}),
    "Deadline": Maker(selection.Deadline, {"tokens": 8.0, "drops": "group"}, {
        "tokens": POSITIVE, "drops": word("group", "response")}),
    "Unsettled": Maker(schemes.Unsettled, {"unknown": "version", "options": (("1", {}),), "settle": "--version 1"}, {
        "unknown": TEXT, "settle": TEXT, "options": Kind(
            lambda x: bool(sequence_of((tuple, list)).takes(x) and len(x) and all(map(named_slots, x))),
            ((("1", {}), ("2", None)), [("1", {"group_size": 4})]))}),
    "Path": Maker(positional(ls.Path, "name"), {"name": "a", "probability": 1.0, "length": LAW, "p_correct": 0.5,
                                                "p_correct_truncated": 0.0}, {
        "name": TEXT, "probability": PROBABILITY, "length": LENGTH, "p_correct_truncated": PROBABILITY,
        "p_correct": Kind(lambda x: callable(x) or (not isinstance(x, bool) and np.ndim(as_numbers(x)) < 2
                                                    and np.size(as_numbers(x)) and numeric(0.0, 1.0).takes(x)),
                          (0.5, [0.1, 0.2], np.array(1.0), abs))}),
    "PromptClass": Maker(positional(ls.PromptClass, "name"), {"name": "a", "weight": 1.0, "paths": [PATH]}, {
        "name": TEXT, "weight": PROBABILITY, "paths": Kind(
            lambda x: bool(sequence_of(ls.Path).takes(x) and len(x)), ([PATH], (PATH,)))}),
    "Policy": Maker(positional(ls.Policy, "classes"), {"classes": [CLASS], "max_tokens": 8,
                                                       "coordinates": ls.coordinates()}, {
        "classes": Kind(lambda x: bool(sequence_of(ls.PromptClass).takes(x) and len(x)), ([CLASS],)),
        "max_tokens": SIZE, "coordinates": COORDINATES}),
    "coordinates": Maker(ls.coordinates, {"bins": 1, "edges": None, "sharing": 0.7, "class_sharing": 0.7,
                                          "path_scale": 3.0}, {
        "bins": either(whole(), word("table")), "sharing": PROBABILITY, "class_sharing": PROBABILITY,
        "path_scale": NOT_NEGATIVE,
        "edges": Kind(lambda x: x is None or (numbers_of((None,), 1.0).takes(x) and len(x) > 1 and x[0] == 1
                                              and bool((np.diff(x) > 0).all())), (None, [1, 2.5, 7]))}),
    "replaced coordinates": Maker(lambda **given: replace(ls.coordinates(), **given), {"sharing": 0.7}, {
        "sharing": PROBABILITY, "class_sharing": PROBABILITY, "path_scale": NOT_NEGATIVE,
        "bins": either(whole(), word("table"))}),
    "kernel": Maker(ls.kernel, {"stops": np.ones((1, 1, 1, 1)), "positions": [1], "paths": None, "cross": None}, {
        "stops": numbers_of((1, 1, 1, 1), 0.0), "positions": numbers_of((1,), 1.0),
        "paths": either(NOTHING, numbers_of((1, 1), 0.0)), "cross": NOTHING}),
    "two_paths": Maker(ls.policies.two_paths, {"solve_rate": 0.4, "right": LAW, "wrong": LAW, "max_tokens": 8,
                                               "coordinates": None}, {
        "solve_rate": PROBABILITY, "right": LENGTH, "wrong": LENGTH, "max_tokens": SIZE,
        "coordinates": either(NOTHING, COORDINATES)}),
    "pace by KL": Maker(ls.pace, {"kl_per_step": 1e-5}, {"kl_per_step": POSITIVE}),
    "pace by accuracy": Maker(ls.pace, {"accuracy": (0.2, 0.4), "steps": 5}, {
        "accuracy": numbers_of((2,), 0.0, 1.0), "steps": whole()}),
    "Curves": Maker(partial(ls.Curves, steps=[0, 3]), {"length": [5.0, 6.0], "responses_per_step": 8}, {
        "length": numbers_of((2,), 1.0), "responses_per_step": either(NOTHING, whole())}),
    "unsolvable": Maker(ls.policies.unsolvable, {"length": LAW, "max_tokens": 8, "coordinates": None}, {
        "length": LENGTH, "max_tokens": SIZE, "coordinates": either(NOTHING, COORDINATES)}),
    "beta_solve_rates": Maker(ls.policies.beta_solve_rates, {"a": 1.0, "b": 1.0, "classes": 3, "right": LAW,
                                                             "wrong": LAW, "max_tokens": 8, "coordinates": None}, {
        "a": number(1e-6, 1e6), "b": number(1e-6, 1e6), "classes": whole(high=40), "right": LENGTH,
        "wrong": LENGTH, "max_tokens": SIZE, "coordinates": either(NOTHING, COORDINATES)}),
    "pgf": Maker(POLICY.pgf, {"u": 0.5}, {"u": numeric(0.0, 1.0)}),
    "sample": Maker(lambda rng, **given: POLICY.sample(rng, **given), {
        "rng": np.random.default_rng(0), "prompts": 2, "group_size": 2, "reward": None}, {
        "rng": instance(np.random.Generator, np.random.default_rng(1)), "prompts": SIZE, "group_size": SIZE,
        "reward": either(NOTHING, REWARD)}),
    "reweighted": Maker(POLICY.reweighted, {"weights": {}}, {"weights": Kind(
        lambda x: isinstance(x, dict) and not x, ({}, {"prompts": 1.0}))}),
    "moved": Maker(POLICY.moved, {"update": np.zeros(POLICY.motion.size)},
                   {"update": numbers_of((POLICY.motion.size,))}),
    "Rollouts": Maker(ls.Rollouts, {"lengths": [1], "rewards": [1.0], "prompt_ids": [1], "truncated": None,
                                    "correct": None, "classes": None, "steps": None}, {
        "lengths": Kind(lambda x: numbers_of((1,), 1.0, 2.0**53).takes(x) and not (np.asarray(x) % 1).any(),
                        ([3], [4.0])),
        "rewards": numbers_of((1,)), "classes": either(NOTHING, Kind(
            lambda x: numbers_of((1,), -2.0**53, 2.0**53).takes(x) and not (np.asarray(x) % 1).any(), ([3], [4.0]))),
        **{name: either(NOTHING, Kind(lambda x: numbers_of((1,)).takes(x) and np.asarray(x)[0] in (0, 1),
                                      ([True], [0]))) for name in ("truncated", "correct")}}),
    "Estimate": Maker(ls.Estimate, {"value": 1.0, "stderr": 0.0, "error": 0.0, "n": 0, "method": "sum"}, {
        "n": whole(0), "method": word("closed form", "sum", "quadrature", "large-batch limit", "monte carlo"),
        **{name: Kind(lambda x: isinstance(x, (int, float, np.number, np.bool_, np.ndarray)) and np.ndim(x) == 0
                      and np.asarray(x).dtype.kind in "biuf" and not np.asarray(x) < 0, (0.5, math.nan))
           for name in ("stderr", "error")}}),
    # verbs
    "drift": Maker(ls.drift, {"scheme": SCHEME, "subject": POLICY, "method": "exact"}, {
        "scheme": instance(ls.Scheme, schemes.rloo()), "subject": instance(ls.Policy, POLICY), "method": word("exact"),
        "reference": either(NOTHING, instance(ls.Policy, POLICY)),
        "old_policy": either(NOTHING, instance(ls.Policy, POLICY))}),
    "sampled drift": Maker(ls.drift, {"scheme": SCHEME, "subject": POLICY, "method": "monte_carlo",
                                      "rng": np.random.default_rng(0), "batches": 16}, {
        "rng": instance(np.random.Generator, np.random.default_rng(0)), "method": word("monte_carlo"),
        "batches": either(NOTHING, whole(16, 1000))}),
    "length_drift": Maker(ls.length_drift, {"scheme": SCHEME, "policy": POLICY}, {
        "scheme": instance(ls.Scheme, schemes.rloo()), "policy": instance(ls.Policy, POLICY)}),
    "compare": Maker(ls.compare, {"one": SCHEME, "other": SCHEME}, {
        "one": instance(ls.Scheme, SCHEME), "other": instance(ls.Scheme, SCHEME)}),
    # formulas
    "mean_length": Maker(formulas.mean_length, {"hazard": 0.5}, {
        "hazard": Kind(lambda x: not isinstance(x, bool) and numeric(1e-300, 1.0).takes(x), (0.5, [0.1, 1.0]))}),
    # presets
    "ppo": preset("ppo", gae_lambda=(0.95, either(PROBABILITY, instance(
        advantages.LengthAdaptive, advantages.LengthAdaptive()))), gamma=(1.0, PROBABILITY), whiten=(False, FLAG),
        group_size=(1, whole()), aggregation=(aggregation.TokenSum(), RULE), critic=(critics.Zero(), CRITIC)),
    "vapo": preset("vapo", alpha=(0.05, POSITIVE), group_size=(2, whole()), critic=(critics.Zero(), CRITIC)),
    "grpo": preset("grpo", group_size=(2, whole())),
    "dr_grpo": preset("dr_grpo", constant=(None, either(NOTHING, POSITIVE)), group_size=(2, whole())),
    "dapo": preset("dapo", reward=(None, either(NOTHING, REWARD))),
    "dapo, overlong": preset("dapo", reward=(None, NOTHING), max_tokens=(8, number(4.0)),
                             buffer=(4, number(0.0, 8.0, above=True))),
    "rloo": preset("rloo"),
    "reinforce_plus_plus": preset("reinforce_plus_plus"),
    "reinforce_plus_plus_baseline": preset("reinforce_plus_plus_baseline", group_size=(2, whole())),
    "remax": preset("remax", greedy_reward=(0.5, either(FINITE, numbers_of((None,))))),
    **{name: preset(name, group_size=(2, whole())) for name in ("opo", "gspo", "gmpo", "cispo", "sapo", "luspo")},
    "delta_l": preset("delta_l", alpha=(0.75, PROBABILITY), group_size=(2, whole())),
}
