"""From a log of responses to a policy: prompt classes by solve rate, laws of length by class and outcome."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lossim._engine import versions
from lossim._fitting.estimator import Classes, Fitter, Paths, Responses
from lossim._fitting.fitted import Fit, FittedClass
from lossim._fitting.states import Answers, Shares
from lossim._model import Coordinates, Features
from lossim._support import checks
from lossim._support.numbering import numbered
from lossim._support.text import Note, Phrase, Way, argument
from lossim._support.types import BoolArray, FloatArray, IntArray, Outcome
from lossim.policies import Policy
from lossim.rewards import Reward
from lossim.rollouts import NEEDED, AnyLog, Rollouts, as_rollouts, reward_levels, settled_cuts, settled_grades

BY_SOLVE_RATE = "solve rate"
HALF = NEEDED[1]
RUNS, LEAST = 24, 32
"""Runs of ends in which answers are looked at apart, at most, and responses of a grade in each, at least."""
QUANTILES = 16
"""Shares that stand for those of all responses in such a run."""


def fit(rollouts: AnyLog, *, paths: Paths = "outcome", needed: float | None = None,
        classes: int | str | None = None, max_tokens: int | None = None, correct_above: float | None = None,
        coordinates: Coordinates | None = None, smoothing: float = 1.0, replicates: int = 100,
        rng: np.random.Generator | None = None, progress: bool = False) -> Fit:
    """The policy that a log was drawn from, as far as the log tells.

    Prompts with k of n correct are taken to have a solve rate each. The law of solve rates is the nonparametric
    maximum-likelihood one, merged to as few classes as are as likely (within 2 nats of log likelihood). Length laws are
    by class and grade: for n responses about n^⅓ cells hold equally many, those at both ends halved further; inside a
    cell the law is exponential with the mean of the cell's lengths. What a prompt's k of n leaves open about its class
    is resolved by EM, and small classes lean on the law of all.

    Args:
        rollouts: the log, :class:`~lossim.Rollouts` or what these read: files, or a table in memory. Without
            ``correct``, rewards of two values stand for grades. Equal ids are one prompt, also in different steps.
        paths: ``"outcome"``: each class has a right and a wrong path, and a truncated response is on that of its grade.
            ``"one"``: one path, whose correctness depends on the length where it stops. ``"states"``: one path with
            work, on which a response is done once its answer is there.
            ``"column"``: the paths that the log names, ``Rollouts(path_names=...)``, each as ``"one"``.
        needed: with ``"states"``, the share of a right response's length, in [0, 1], at which its answer was there. By
            default those of the log's responses of about that length and grade, ``Rollouts(answered=...)``; without
            these a half, and wrong ones work to their end, which the log does not say: a drift on the fit is given for
            0.25 and 0.9 too, and for truncated ones that are done.
        classes: None: those of the log if it has any, else by solve rate; a number: so many by solve rate;
            ``"solve rate"``: by solve rate whatever the log has.
        max_tokens: the cut; by default the length of the truncated responses, or the longest length. If the log does
            not say which responses are truncated, those of ``max_tokens`` are.
        correct_above: responses paid more than this are correct, where the log has no grades and rewards take more
            than two values.
        coordinates: of the policy, see :func:`lossim.coordinates`; of the default kind unless given.
        smoothing: width of the cells, 1 as above; larger is smoother. 0 takes the observed hazards as they are, which
            are 0 at lengths that nobody has.
        replicates: refits, to prompts drawn again, for standard errors; they are computed when first asked for.
        rng: for these draws; a fixed seed unless given, so that results are the same each time.
        progress: compute the refits now, and report them on stderr.

    A Fit keeps 12 bytes per response, and about 50 are needed at times while it is made; refits need no more than that.

    Raises:
        ValueError: rewards of other than two values with neither grades nor ``correct_above``, or both of these;
            truncated responses of different lengths, or shorter than another response or than ``max_tokens``; a
            response longer than ``max_tokens``; a prompt in two classes.

    >>> import lossim as ls
    >>> true = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.lognormal(median=60, sigma=0.5),
    ...                              wrong=ls.lengths.geometric(mean=90), max_tokens=512)
    >>> log = true.sample(np.random.default_rng(1), prompts=1000, group_size=8)
    >>> found = ls.fit(log)
    >>> print(found)
    fit of 8,000 responses to 1,000 prompts, max_tokens 512
                                     log       fit
      mean length (tokens)         81.11     81.12
      P(correct)                  0.3891    0.3891
      P(truncated)              0.001375  0.001375
      mean reward: 1 if correct, 0 if incorrect, 0 if truncated
      class       weight  prompts  P(correct)   P(cut)   tokens if correct  if incorrect
      class 0      1.000    1,000       0.389    0.001               67.08          89.1
      note: prompt classes are those of the log
      note: truncated responses, 0.14% of all, are on the path of their grade (0 right, 11 wrong): how they would
      have ended is not in the log
    >>> scheme = ls.schemes.grpo()
    >>> print(found.drift(scheme, refits=50))
    grpo: undecided: longer in 60 of 64 kernels, shorter in 4; -2.07 to +9.41 tokens in a step of 0.01 nats
                                                ± stderr                90% interval
      tokens in 0.01 nats             +7.981        0.12            +7.779 to +8.182
      tokens per unit step           +0.8277       0.043          +0.7577 to +0.8977
      P(correct) per unit step     +0.003115     7.8e-05      +0.002987 to +0.003244
      P(truncated), the same       +0.000107     2.7e-05    +6.216e-05 to +0.0001518
    ...
    >>> ls.drift(scheme, true).verdict
    'undecided: longer in 60 of 64 kernels, shorter in 4; -2.01 to +9.37 tokens in a step of 0.01 nats'
    """
    checks.choice("paths", paths, ("outcome", "one", "states", "column"))
    if needed is not None and paths != "states":
        checks.fail("needed", needed, "is for paths='states'",
                    Phrase("leave it out, or use ", argument("paths", "states")))
    if isinstance(classes, str):
        checks.choice("classes", classes, (BY_SOLVE_RATE,))
    elif classes is not None:
        checks.whole("classes", classes)
    width = checks.at_least("smoothing", smoothing, 0.0)
    if correct_above is not None:
        checks.finite("correct_above", correct_above)
    checks.whole("replicates", replicates, low=0)
    checks.flag("progress", progress)
    if rng is not None:
        checks.of_kind("rng", rng, np.random.Generator, "a numpy Generator", "pass np.random.default_rng(0)")
    # what the log says, and what has to be assumed
    rollouts = as_rollouts(rollouts)
    log, assumed = _settled(rollouts, paths=paths, needed=needed, max_tokens=max_tokens, correct_above=correct_above,
                            classes=classes)
    rewards, reward, of_rewards = _rewards(rollouts.rewards, log)

    # the fit, and how to make it again
    seed = 0 if rng is None else int(rng.integers(2**62))
    fitter = Fitter(log, paths=paths, classes=classes if isinstance(classes, int) else None, smoothing=width,
                    coordinates=coordinates, seed=seed)
    found = fitter.fit()
    policy = fitter.policy(found)
    provenance = {"paths": paths, "needed": needed, "classes": classes, "smoothing": width,
                  "max_tokens": log.max_tokens, "correct_above": correct_above, "replicates": replicates, "seed": seed,
                  "responses": len(log.length), "prompts": log.prompts} | versions()

    over: tuple[tuple[float, Policy], ...] = ()
    if_cut_done: tuple[tuple[float, Policy], ...] = ()
    if paths == "states" and needed is None and rollouts.answered is None:
        over = tuple((share, policy if share == HALF else fitter.policy(found, Answers.at(share, log.max_tokens)))
                     for share in NEEDED)
        if np.any(log.truncated & ~log.correct):
            if_cut_done = tuple((share, fitter.policy(found, Answers.at(share, log.max_tokens, if_cut=True)))
                                for share in NEEDED)

    # the log and the policy side by side
    logged = {"mean_length": float(log.length.mean()), "accuracy": float(log.correct.mean()),
              "truncation_rate": float(log.truncated.mean())}
    notes = [*assumed, *of_rewards, *_assumed(fitter, found.classes, policy, classes)]
    cut = int(np.count_nonzero(log.truncated))
    if cut and paths == "outcome":
        right = int(np.count_nonzero(log.truncated & log.correct))
        notes.append(Note("truncated", f"truncated responses, {cut / len(log.length):.2%} of all, are on the path of "
                          f"their grade ({right:,} right, {cut - right:,} wrong): how they would have ended is not in "
                          "the log"))
    if width == 0.0:
        notes.append(Note("not smoothed", "nothing is smoothed: the hazard is 0 at lengths that no response has, and "
                          "stays so"))
    result = Fit(
        policy=policy, classes=_classes(policy, log.prompts), rewards=rewards, reward=reward, logged=logged,
        fitted={name: getattr(policy, name) for name in logged}, replicates=replicates, notes=tuple(notes),
        provenance=provenance, _fitter=fitter, over_needed=over,
        if_cut_done=if_cut_done)
    if progress:
        for _ in result.refits(progress=True):
            pass
    return result


def _classes(policy: Policy, prompts: int) -> tuple[FittedClass, ...]:
    """What the responses of each class are like."""
    def mean(mass: FloatArray, length: FloatArray) -> float:
        return float(mass @ length / mass.sum()) if mass.sum() > 0 else float("nan")

    made = []
    for each, cells in zip(policy.classes, policy.class_cells, strict=True):
        law = np.tensordot(policy.arrays.cell_probability[cells], policy.law[cells], axes=1)  # [grade, end]
        right, wrong = (mean(mass, policy.length[:-1]) for mass in law[:, :-1])
        truncated = mean(law[:, -1].sum(keepdims=True), policy.length[-1:])
        made.append(FittedClass(
            name=each.name, weight=each.weight, prompts=each.weight * prompts, solve_rate=float(law[0].sum()),
            truncation_rate=float(law[:, -1].sum()), length=(right, wrong, truncated)))
    return tuple(made)


def _assumed(fitter: Fitter, found: Classes, policy: Policy, classes: int | str | None) -> Iterator[Note]:
    """What was assumed about solve rates."""
    if fitter.labels is not None:
        yield Note("classes", "prompt classes are those of the log")
        return
    kept = len(found.rates)
    fewer = f", taken as {kept}, which costs {found.lost:.2f} nats of log likelihood" if kept < found.found else ""
    yield Note("classes", f"the likeliest law of solve rates has {found.found} point{'s' * (found.found > 1)}{fewer}")
    if isinstance(classes, int) and kept < classes:
        yield Note("classes", f"{classes} classes were asked for, and the log tells no more than {kept} apart")
    if kept > 1 and isinstance(policy.coordinates, Features) and policy.coordinates.class_sharing < 1.0:
        yield Note("sharing", "each class moves partly by itself (class_sharing below 1), so a drift depends on how "
                   "many classes there are; coordinates(class_sharing=1) does not")
    if fitter.answers.max() == 1:
        yield Note("single responses", "one response per prompt: how solve rates differ between prompts is not in the "
                   "log")


# ---- what a log leaves open, settled ----


def _settled(rollouts: Rollouts, *, paths: Paths, needed: float | None, max_tokens: int | None,
             correct_above: float | None, classes: int | str | None) -> tuple[Responses, list[Note]]:
    """A log, checked, with nothing left open; and notes on what was assumed."""
    correct, of_grades = settled_grades(rollouts, correct_above)
    if correct is None:
        checks.fail("rewards", reward_levels(rollouts), "must take exactly two values to stand for grades",
                    Phrase("give ", argument("correct_above"), ", or ", Way("correct", "Rollouts with correct=")))
    cut, cap, of_cuts = settled_cuts(rollouts, max_tokens)
    checks.positions("max_tokens", cap)
    prompt, prompts = numbered(rollouts.prompt_ids)
    labels, names = _labels(rollouts, prompt, prompts) if classes is None else (None, ())
    path: IntArray = np.zeros(len(rollouts), dtype=np.int8)
    path_names = np.array(["all"])
    if paths == "column":
        if rollouts.path_names is None:
            checks.fail("paths", paths, "needs a log that names the path of each response", Phrase(
                "give ", Way("column", "Rollouts(path_names=...)", "path"), ", or use ", argument("paths", "outcome")))
        path_names, path = np.unique(rollouts.path_names, return_inverse=True)
    truncated = np.zeros(len(rollouts), dtype=np.bool_) if cut is None else cut
    answers, of_answers = _answers(rollouts, correct, truncated, cap, needed) if paths == "states" else (None, [])
    notes = of_grades + of_cuts + of_answers
    if rollouts.tokenized is not None:
        notes.append(Note("estimated", "lengths are estimated from characters, and what is fitted to them with them"))
    if rollouts.steps is not None and rollouts.steps.min() < rollouts.steps.max():
        notes.append(Note("steps", f"steps {rollouts.steps.min()} to {rollouts.steps.max()} are taken together, as if "
                          "one policy had drawn them"))
    return Responses(
        length=rollouts.lengths, correct=correct, truncated=truncated, prompt=prompt, prompts=prompts, labels=labels,
        names=names, max_tokens=cap, path=path, path_names=tuple(path_names.tolist()), answers=answers), notes


def _answers(rollouts: Rollouts, correct: BoolArray, cut: BoolArray, cap: int, needed: float | None
             ) -> tuple[Answers, list[Note]]:
    """When answers were there, and what was assumed."""
    if needed is not None or rollouts.answered is None or not correct.any():
        share = HALF if needed is None else checks.probability("needed", needed)
        unsaid = ", which the log does not say: a drift is given for others too" if needed is None else ""
        return Answers.at(share, cap), [
            Note("needed", f"answers are taken to be there at {share:.3g} of a right response{unsaid}; wrong responses "
                 "are taken to work to their end")]
    there = ~np.isnan(rollouts.answered)
    # a right response has its answer at its end at the latest
    at = np.where(correct & ~there, rollouts.lengths, rollouts.answered) / rollouts.lengths
    end = rollouts.lengths + cut
    wrong = f", as {there[~correct].mean():.2g} of the wrong ones do" if there[~correct].any() else ""
    return Answers(right=_shares(at[correct], end[correct], cap), wrong=_shares(at[~correct], end[~correct], cap)), [
        Note("needed", "answers are there at the shares that responses of a length and grade have in the log: right "
             f"ones have one{wrong}")]


def _shares(at: FloatArray, end: IntArray, cap: int) -> Shares:
    """Quantiles of shares [response], NaN without an answer, by runs of ends that hold about equally many.

    Truncated responses are a run of their own.
    """
    if not end.size:
        return Shares(values=np.ones((1, 1)), last=np.zeros(0, dtype=np.int64), had=np.zeros(1))
    runs = int(np.clip(len(end) // LEAST, 1, RUNS))
    last = np.append(np.quantile(end, np.arange(1, runs) / runs, method="lower"), cap)
    last = np.unique(last[last < end.max()])
    run = np.searchsorted(last, end)
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    values = np.ones((len(last) + 1, QUANTILES))
    had = np.zeros(len(last) + 1)
    for number in range(len(had)):
        each = at[run == number]
        answered = each[~np.isnan(each)]
        had[number] = len(answered) / max(len(each), 1)
        if answered.size:
            values[number] = np.quantile(answered, levels)
    return Shares(values=values, last=last, had=had)


def _labels(rollouts: Rollouts, prompt: IntArray, prompts: int) -> tuple[IntArray | None, tuple[str, ...]]:
    """The class of each prompt as the log has it, numbered by the classes that occur; and what these are called."""
    given = rollouts.classes
    if given is None:
        return None, ()
    of_prompt = np.zeros(prompts, dtype=np.int64)
    of_prompt[prompt] = given
    other = np.flatnonzero(of_prompt[prompt] != given)
    if other.size:
        row = other[0]
        checks.fail(f"classes of prompt {rollouts.prompt_ids[row].item()!r}",
                    sorted({int(given[row]), int(of_prompt[prompt[row]])}),
                    "must be one class for all responses to a prompt",
                    f"give each prompt one, or pass classes={BY_SOLVE_RATE!r}")
    kinds, label = np.unique(of_prompt, return_inverse=True)
    names = rollouts.class_names
    return label, tuple(names[kind] if names else f"class {kind}" for kind in kinds)


def _rewards(paid: FloatArray, log: Responses) -> tuple[dict[str, float], Reward, list[Note]]:
    """Mean logged reward by outcome (NaN where there is none), the Reward that pays it, and notes on both."""
    names = tuple(outcome.name.lower() for outcome in Outcome)
    outcome = np.where(log.truncated, Outcome.TRUNCATED, np.where(log.correct, Outcome.CORRECT, Outcome.INCORRECT))
    counts = np.bincount(outcome, minlength=len(names))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.bincount(outcome, paid, len(names)) / counts
    spread = np.sqrt(np.bincount(outcome, (paid - means[outcome]) ** 2, len(names)) / np.maximum(counts, 1))
    notes = []

    # a scheme can be paid by outcome, not by the response
    varying = [f"{name} (±{s:.3g})" for name, s, mean in zip(names, spread, means, strict=True)
               if s > 1e-6 * max(1.0, abs(mean))]
    if varying:
        notes.append(Note("rewards", f"logged rewards vary within an outcome, {', '.join(varying)}: Fit.reward pays "
                          "their mean, and a shaping that depends on the length is for the scheme to say"))

    # an outcome that nobody had is paid as usual
    usual = {"correct": 1.0, "incorrect": 0.0}
    absent = [name for name, count in zip(usual, counts, strict=False) if not count]
    if absent:
        usually = ", ".join(f"{usual[name]:g} if {name}" for name in absent)
        notes.append(Note("rewards", f"no response stopped {' or '.join(absent)}: Fit.reward pays {usually}"))
    found = {name: float(mean) for name, mean in zip(names, means, strict=True)}
    known = usual | {name: mean for name, mean in found.items() if np.isfinite(mean)}
    return found, Reward(correct=known["correct"], incorrect=known["incorrect"],
                         truncated=known.get("truncated")), notes
