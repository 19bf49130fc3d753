"""What is asked of a log, checked: its schemes as plugins, how its prompts are redrawn, and what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from lossim._auditing.cells import LoggedCells, Paths
from lossim._auditing.log import Log
from lossim._auditing.plugin import Plugin
from lossim._auditing.reading import read_log
from lossim._engine import checked_family, describe_rng, versions
from lossim._model import Coordinates, Features, Kernels
from lossim._support import checks
from lossim._support.records import Record
from lossim._support.text import Phrase, Way, argument
from lossim._support.types import FloatArray
from lossim.rewards import Reward
from lossim.rollouts import NEEDED, AnyLog, as_rollouts
from lossim.schemes import Scheme

MANY, FEW, LEAST = 200, 50, 20
"""Redrawn logs: as a rule, at least where hazards are many, and at least for a standard error."""
HAZARDS = 1 << 22
"""Hazards [cell, t] of all redrawn logs together, beyond which there are fewer of these."""


class Asked(Record):
    """Schemes on a log.

    Attributes:
        shares: needed shares to look at, none where nobody asks.
        weights: how often each block of prompts is drawn, [replicate, block].
        notes: what was assumed in reading the log.
    """

    log: Log
    plugins: tuple[Plugin, ...]
    shares: tuple[float, ...]
    weights: FloatArray
    notes: tuple[str, ...]
    provenance: dict[str, Any]


def asked_of(rollouts: AnyLog, schemes: Scheme | Sequence[Scheme], *, reward: Reward | None = None,
             paths: Paths = "outcome", needed: float | Sequence[float] | None = None,
             coordinates: Coordinates | None = None, kernels: Kernels | Sequence[Coordinates] | None = None,
             max_tokens: int | None = None, correct_above: float | None = None, replicates: int | None = None,
             rng: np.random.Generator | None = None, executor: Executor | None = None) -> Asked:
    """The question; arguments are those of :func:`lossim.audit`.

    Raises:
        ValueError: a log that does not hold what it takes; the message names the value, the rule and the fix.
    """
    chosen: Sequence[Scheme] = [schemes] if isinstance(schemes, Scheme) else checks.members(
        "schemes", schemes, Scheme, "Scheme", "for example [schemes.grpo(), schemes.dapo()]")
    if not chosen:
        checks.fail("schemes", schemes, "must hold at least one scheme", "for example schemes.grpo()")
    for name, kind, given in (("reward", Reward, reward), ("rng", np.random.Generator, rng)):
        if given is not None and not isinstance(given, kind):
            checks.fail(name, given, f"must be a {kind.__name__}", "leave it out for the default", TypeError)
    if replicates is not None and 0 < checks.whole("replicates", replicates, low=0) < LEAST:
        checks.fail("replicates", replicates, f"must be 0 or at least {LEAST}", "fewer give no standard error")
    source = np.random.default_rng(0) if rng is None else rng
    seed = describe_rng(source)
    family = checked_family(kernels)
    checks.choice("paths", paths, ("outcome", "one", "states", "column"))
    if correct_above is not None:
        checks.finite("correct_above", correct_above)
    log = read_log(as_rollouts(rollouts, executor=executor), max_tokens=max_tokens, correct_above=correct_above,
                   needs_grades=paths in ("outcome", "states") or reward is not None,
                   needs_answers=paths == "states" and needed is None, needs_paths=paths == "column",
                   seed=int(source.integers(2**32)))
    shares = _shares(log, paths, needed)
    if reward is not None and reward.needs_target and log.rollouts.targets is None:
        checks.fail("targets", None, f"must be in the log: {reward.target_words}",
                    Phrase("give ", Way("column", "Rollouts(targets=...)", "target")))
    if paths == "states":
        _no_adaptive(chosen)
    cells = LoggedCells(log=log, paths=paths, coordinates=Features() if coordinates is None else coordinates,
                        needed=shares[len(shares) // 2] if shares else None)
    notes = list(log.notes)
    if replicates is None:
        replicates = int(np.clip(HAZARDS // cells.policy.logits.size, FEW, MANY))
        if replicates < MANY and log.prompts > 1:
            notes.append(f"standard errors rest on {replicates} redrawn logs, for the responses are long; "
                         f"replicates={MANY} makes more")
    if log.prompts < 2 and replicates:
        replicates = 0
        notes.append("a single prompt has no spread over prompts: no standard errors")
    even = np.full(log.blocks, 1.0 / log.blocks)
    weights = source.multinomial(log.blocks, even, size=replicates).astype(np.float64)
    plugins = tuple(Plugin(cells=cells, scheme=scheme, rule=reward, kernels=family) for scheme in chosen)
    return Asked(log=log, plugins=plugins, shares=shares, weights=weights, notes=tuple(notes),
                 provenance={"method": "audit", "replicates": replicates, "rng": seed, **versions(),
                             "coordinates": repr(cells.coordinates)})


def _shares(log: Log, paths: Paths, needed: float | Sequence[float] | None) -> tuple[float, ...]:
    """The needed shares to look at, increasing; none where the log says where answers are, or nobody asks."""
    if paths != "states":
        if needed is not None:
            checks.fail("needed", needed, "is for paths='states'", Phrase("leave it out, or use ",
                                                                         argument("paths", "states")))
        if paths == "column" and log.rollouts.path_names is None:
            checks.fail("paths", paths, "needs a log that names the path of each response",
                        Phrase("give ", Way("column", "Rollouts(path_names=...)", "path"), ", or use ",
                               argument("paths", "outcome")))
        return ()
    if needed is None:
        return () if log.answered is not None else NEEDED
    given = [needed] if isinstance(needed, int | float | str) else list(needed)
    if not given:
        checks.fail("needed", needed, "must hold at least one share", "leave it out for the default")
    return tuple(sorted({checks.probability("needed", share) for share in given}))


def _no_adaptive(schemes: Sequence[Scheme]) -> None:
    """Refuse what is not summed where responses change state."""
    for scheme in schemes:
        gae = scheme.advantage.token_level
        if gae is not None and gae.adaptive:
            checks.fail("paths", "states", f"cannot be read under {scheme.name}, whose λ depends on the length",
                        Phrase("use ", argument("paths", "outcome"), " or ", argument("paths", "one")))
