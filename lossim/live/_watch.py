"""The engine of all watches: it takes the responses of a step, and answers with the numbers of an audit."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from lossim._auditing import Finding, audit, stops_of_log
from lossim._engine import Pace, pace
from lossim._forecasting import Forecast, forecast
from lossim._support import checks
from lossim._support.types import ArrayLike, NoClosedForm
from lossim.live._metrics import named, of_finding, of_forecast, of_log, of_stops
from lossim.rollouts import ByCharacters, Rollouts, settled_grades
from lossim.schemes import Scheme

LOGGER = logging.getLogger("lossim.live")
PARTS = {"audit": 0.6, "stops": 0.2, "forecast": 0.2}
"""What is asked, and its part of the budget."""
FIRST = 4
"""Steps from which on there are forecasts."""
AHEAD = 100
"""Steps ahead that a forecast is for, where nobody says which is the last."""
COLUMNS = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "kl")
"""Columns of responses that are kept; classes have no names that hold from step to step."""
Found = TypeVar("Found")


class Watch:
    """What a scheme does to mean length, step by step of a run that goes on.

    Each step's responses are put to those of the steps before it, up to a ``window``; that log is audited, as
    :func:`lossim.audit` does it afterwards, and the numbers come back as metrics, see :data:`METRICS`. Nothing that
    goes wrong inside gets out: there is one warning in the log ``lossim.live``, and ``lossim/errors`` counts.

    Args:
        scheme: what the run trains with.
        max_tokens: the cap of a response, tokens, where it is known.
        correct_above: responses paid more than this are correct, where nothing else tells. Without it rewards of two
            values tell, and else right and wrong are one path.
        window: how many of the last steps are audited together.
        until: the last step of the run, which a forecast is for; unless given 100 steps ahead.
        budget: the share of the run's time that all of this may take. Where an audit took longer than a step's share,
            steps go by without one until the time is saved. None: no limit.
        replicates: as in :func:`lossim.audit`.

    >>> import lossim as ls
    >>> watch = Watch(ls.schemes.grpo(), max_tokens=64, budget=None)
    >>> policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=10),
    ...                                wrong=ls.lengths.geometric(mean=20), max_tokens=64)
    >>> log = policy.sample(np.random.default_rng(0), prompts=32, group_size=8)
    >>> found = watch.step(1, lengths=log.lengths, rewards=log.rewards, prompt_ids=log.prompt_ids,
    ...                    truncated=log.truncated)
    >>> found["lossim/way"], found["lossim/decided"], found["lossim/errors"]
    (0.0, 0.0, 0.0)
    >>> print(watch.verdict)
    grpo: undecided: ...
    >>> again = watch.audit(watch.rollouts)
    >>> found["lossim/drift"] == float(again.findings[0].length_per_kl)
    True
    """

    def __init__(self, scheme: Scheme, *, max_tokens: int | None = None, correct_above: float | None = None,
                 window: int = 16, until: int | None = None, budget: float | None = 0.01, replicates: int = 20) -> None:
        self.scheme = checks.of_kind("scheme", scheme, Scheme, "a Scheme, for example schemes.grpo()")
        self.max_tokens = None if max_tokens is None else checks.whole("max_tokens", max_tokens)
        self.correct_above = None if correct_above is None else checks.finite("correct_above", correct_above)
        self.until = None if until is None else checks.whole("until", until)
        self.replicates = checks.whole("replicates", replicates, low=0)
        self.errors = 0
        self.left_out = 0
        self.share_seen = 1.0
        self.finding: Finding | None = None
        self.seconds = 0.0
        self.window = checks.whole("window", window)
        self._steps: deque[dict[str, Any]] = deque(maxlen=self.window)
        self._budget = None if budget is None else checks.in_interval("budget", budget, 0.0, 1.0)
        self._began = time.perf_counter()
        self._cost: dict[str, tuple[float, float]] = {}
        self._no_forecast = False
        self._tokenized: ByCharacters | None = None

    def step(self, step: int, *, lengths: ArrayLike, rewards: ArrayLike, prompt_ids: ArrayLike,
             truncated: ArrayLike | None = None, correct: ArrayLike | None = None, **more: Any) -> dict[str, float]:
        """Take the responses of a step, and say what they make of it.

        Columns are those of :class:`~lossim.Rollouts`, one entry each. Responses of the step that came last
        are added to it. Returns metrics by name, with the prefix ``lossim/``.
        """
        began = time.perf_counter()
        columns = {"lengths": lengths, "rewards": rewards, "prompt_ids": prompt_ids, "truncated": truncated,
                   "correct": correct, **more}
        found = self.guarded(lambda: self._step(step, columns))
        return self.answered(found or {}, began)

    def keep(self, step: int, **columns: Any) -> None:
        """Take the responses of a step that came before, as :meth:`step` does, and ask nothing."""
        self.guarded(lambda: self._keep(checks.whole("step", step, low=0), Rollouts(**columns)))

    def answered(self, found: dict[str, float], began: float) -> dict[str, float]:
        """Metrics under their written names, with what is known of the watch itself."""
        now = time.perf_counter()
        self.seconds += now - began
        own = {"errors": float(self.errors), "left_out": float(self.left_out), "share_seen": self.share_seen,
               "seconds": now - began, "share_of_time": self.seconds / max(now - self._began, 1e-9)}
        return named(found | own)

    def guarded(self, work: Callable[[], Found]) -> Found | None:
        """What ``work`` returns; if it fails that is counted, said once, and the run goes on."""
        try:
            return work()
        except Exception as error:
            self.errors += 1
            if self.errors == 1:
                LOGGER.warning("%s: %s; the run goes on, and lossim/errors counts what else goes wrong",
                               type(error).__name__, error)
            LOGGER.debug("error %d", self.errors, exc_info=True)
            return None

    @property
    def rollouts(self) -> Rollouts:
        """The log that was audited last: the responses of the window, one at least."""
        if not self._steps:
            raise ValueError("no responses came yet: tell the watch of a step first")
        names = [name for name in self._steps[0] if all(each[name] is not None for each in self._steps)]
        columns: dict[str, Any] = {name: np.concatenate([each[name] for each in self._steps]) for name in names}
        return Rollouts(**columns, tokenized=self._tokenized)

    @property
    def verdict(self) -> str:
        """Which way length goes, in words; "" before the first audit."""
        return "" if self.finding is None else f"{self.finding.name}: {self.finding.verdict}"

    @property
    def costs(self) -> dict[str, float]:
        """Seconds that each part took when it was asked last: ``"audit"``, ``"stops"``, ``"forecast"``."""
        return {part: last for part, (_, last) in self._cost.items()}

    def audit(self, rollouts: Rollouts) -> Any:
        """The audit that a step's metrics are of: of its :attr:`rollouts`, at the pace of these."""
        return audit(self.scheme, rollouts, what_if=False, replicates=self.replicates, pace=_pace(rollouts),
                     **self._how(rollouts))

    # --- a step -----------------------------------------------------------------------------------------------------

    def _step(self, step: int, columns: dict[str, Any]) -> dict[str, float]:
        """Take a step's responses, and ask what is due."""
        number = checks.whole("step", step, low=0)
        self._keep(number, Rollouts(**columns))  # which checks them
        due = [part for part in PARTS if self._due(part) and (part != "forecast" or self._forecasts(number))]
        if not due:
            return {}
        rollouts = self.rollouts
        found: dict[str, float] = {}
        if "audit" in due:
            asked = self._timed("audit", lambda: self.audit(rollouts))
            self.finding = asked.findings[0]
            found |= of_log(asked.log) | of_finding(asked.findings[0])
        if "stops" in due:
            found |= self.guarded(lambda: self._timed("stops", lambda: self._stops(rollouts))) or {}
        if "forecast" in due:
            found |= self.guarded(lambda: self._timed("forecast", lambda: self._ahead(number, rollouts))) or {}
        return found

    def _keep(self, step: int, rows: Rollouts) -> None:
        """Put responses to the window; a run that went back to a step before begins one anew."""
        kept = {name: getattr(rows, name) for name in COLUMNS} | {"steps": np.full(len(rows), step)}
        self._tokenized = rows.tokenized
        if self._steps and self._steps[-1]["steps"][0] > step:
            LOGGER.info("the run went back to step %d: what came after is forgotten", step)
            self._steps.clear()
        if self._steps and self._steps[-1]["steps"][0] == step:
            before = self._steps.pop()
            kept = {name: None if before[name] is None or kept[name] is None
                    else np.concatenate([before[name], kept[name]]) for name in kept}
        self._steps.append(kept)

    def _how(self, rollouts: Rollouts) -> dict[str, Any]:
        """How a log is read."""
        above = self.correct_above if rollouts.correct is None else None
        graded = settled_grades(rollouts, above)[0] is not None
        return {"max_tokens": self.max_tokens, "correct_above": above, "paths": "outcome" if graded else "one"}

    def _forecasts(self, step: int) -> bool:
        """Whether there is a forecast to be made."""
        left = self.until is None or step < self.until
        return left and not self._no_forecast and len(self._steps) >= min(FIRST, self.window)

    def _stops(self, rollouts: Rollouts) -> dict[str, float]:
        """At which penalty per token length would not drift."""
        return of_stops(stops_of_log(self.scheme, rollouts, "penalty", **self._how(rollouts)).stops)

    def _ahead(self, step: int, rollouts: Rollouts) -> dict[str, float]:
        """Where length goes from here."""
        steps = AHEAD if self.until is None else self.until - step
        how = self._how(rollouts)
        if how["correct_above"] is not None:
            rollouts = replace(rollouts, correct=settled_grades(rollouts, how["correct_above"])[0])
        try:
            found: Forecast = forecast(self.scheme, rollouts, steps=steps, paths=how["paths"],
                                       max_tokens=self.max_tokens)
        except NoClosedForm as reason:
            self._no_forecast = True
            LOGGER.info("no forecasts: %s", reason)
            return {}
        return of_forecast(found)

    # --- time -------------------------------------------------------------------------------------------------------

    def _due(self, part: str) -> bool:
        """Whether a part fits into its share of the time that the run took so far, if it takes as long as last time."""
        if self._budget is None or part not in self._cost:
            return True
        spent, last = self._cost[part]
        return spent + last <= self._budget * PARTS[part] * (time.perf_counter() - self._began)

    def _timed(self, part: str, work: Callable[[], Found]) -> Found:
        """Do a part, and write down how long it took."""
        began = time.perf_counter()
        try:
            return work()
        finally:
            took = time.perf_counter() - began
            self._cost[part] = self._cost.get(part, (0.0, 0.0))[0] + took, took


def _pace(rollouts: Rollouts) -> Pace | None:
    """How far a step of these goes; None where they do not tell."""
    try:
        return pace(rollouts)
    except ValueError:  # one step, or nothing that moves
        return None
