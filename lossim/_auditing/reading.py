"""Rollouts as a log: checked, with their groups in one run each, and what had to be assumed."""

from __future__ import annotations

import numpy as np

from lossim._auditing.log import Log
from lossim._support import checks
from lossim._support.text import Phrase, Way, argument
from lossim._support.types import IntArray
from lossim.rollouts import Rollouts, settled_cuts, settled_grades

MOST_BLOCKS = 256
"""Blocks of prompts that the bootstrap draws from; up to that many prompts are a block each."""
LEAST_BLOCKS = 32
MOST_NUMBERS = 1 << 23
"""Numbers [block, class, grade, end] per measure."""
LARGEST_REWARD = 1e100


def read_log(rollouts: Rollouts, *, max_tokens: int | None = None, correct_above: float | None = None,
             needs_grades: bool = True, needs_answers: bool = False, needs_paths: bool = False, seed: int = 0) -> Log:
    """Check a log and say what has to be assumed about it.

    Positions of answers, and names of paths, are left unread unless they are needed.

    Raises:
        ValueError: an empty log, an unclear cap, grades that are needed and not known, a prompt of two classes.
    """
    grouped = rollouts.by_group()
    correct, notes = settled_grades(grouped, correct_above)
    if correct is None and needs_grades:
        low, high = float(grouped.rewards.min()), float(grouped.rewards.max())
        checks.fail("correct", [low, high], "must be known, or rewards take exactly two values (their range is shown)",
                    Phrase("give ", argument("correct_above"), ", the reward above which a response is correct, or ",
                           Way("correct", "Rollouts with correct="), ", or use ", argument("paths", "one"), " and no ",
                           argument("reward")))
    cut, cap, more = settled_cuts(grouped, max_tokens)
    checks.positions("max_tokens", cap, "leave such a response out of the log, if its length is not wrong")
    largest = float(np.abs(grouped.rewards).max())
    if largest > LARGEST_REWARD:
        checks.fail("rewards", largest, f"must lie within ±{LARGEST_REWARD:g}: their squares are averaged",
                    "scale them: no advantage that is divided by a std changes")
    # Groups are runs of one prompt in one step.
    differs = np.asarray(grouped.prompt_ids[1:] != grouped.prompt_ids[:-1])
    if grouped.steps is not None:
        differs |= grouped.steps[1:] != grouped.steps[:-1]
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1, [len(grouped)]])
    sizes = np.diff(starts)
    ids, prompt = np.unique(grouped.prompt_ids[starts[:-1]], return_inverse=True)
    steps, step = _numbered(grouped.steps, starts)
    classes, prompt_class = _numbered(grouped.classes, starts)
    if grouped.classes is not None:
        of_prompt = np.zeros(len(ids), dtype=np.int64)
        of_prompt[prompt] = prompt_class
        of_row = classes[np.repeat(of_prompt[prompt], sizes)]
        other = np.flatnonzero(of_row != grouped.classes)
        if other.size:
            row = other[0]
            checks.fail(f"classes of prompt {grouped.prompt_ids[row]!r}",
                        sorted({int(grouped.classes[row]), int(of_row[row])}),
                        "must be one class for all responses to a prompt")
    answered = path = None
    path_names: tuple[str, ...] = ("all",)
    if needs_answers and grouped.answered is not None:
        answered = np.nan_to_num(grouped.answered).astype(np.int64)
    if needs_paths and grouped.path_names is not None:
        found, path = np.unique(grouped.path_names, return_inverse=True)
        path_names = tuple(found.tolist())
    # Blocks of equal size, filled at random; fewer where memory is short.
    places = len(grouped) if answered is not None else len(classes) * len(path_names) * 2 * (cap + 1)
    blocks = int(min(len(ids), np.clip(MOST_NUMBERS // places, LEAST_BLOCKS, MOST_BLOCKS)))
    return Log(rollouts=grouped, starts=starts, sizes=sizes, prompt=prompt, prompts=len(ids), step=step,
               steps=steps, prompt_class=prompt_class, classes=classes, correct=correct, cut=cut, max_tokens=cap,
               answered=answered, path=path, path_names=path_names,
               block_of_prompt=np.random.default_rng(seed).permutation(len(ids)) % blocks, notes=(*notes, *more))


def _numbered(column: IntArray | None, starts: IntArray) -> tuple[IntArray, IntArray]:
    """The values that occur in a column, and which of them each group has; one value where there is no column."""
    if column is None:
        return np.array([0]), np.zeros(len(starts) - 1, dtype=np.int64)
    values, number = np.unique(column[starts[:-1]], return_inverse=True)
    return values, number
