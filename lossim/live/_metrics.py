"""The metrics that a watch writes: their names, units and meaning, and where they stand in an audit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lossim._auditing import Finding
from lossim._changes import Stop
from lossim._forecasting import Forecast

PREFIX = "lossim/"


class Metric(NamedTuple):
    """What a number is: its unit, and what it says."""

    unit: str
    meaning: str


STEP = "tokens in a step of 0.01 nats"
METRICS: dict[str, Metric] = {
    "drift": Metric(STEP, "which way the loss pushes mean length, and how far"),
    "drift_stderr": Metric(STEP, "its standard error over prompts"),
    "drift_low": Metric(STEP, "the least that it may be, over all that is not known"),
    "drift_high": Metric(STEP, "the most that it may be"),
    "tokens_per_step": Metric("tokens per step", "the drift at the pace of the run, where the window shows a pace"),
    "way": Metric("1, 0 or -1", "longer or shorter; 0 where the sign is undecided, within the noise, or none"),
    "decided": Metric("1 or 0", "whether the sign is told: beyond the noise, and the same over all that is not known"),
    "from_correct": Metric(STEP, "the part that comes from correct responses"),
    "from_incorrect": Metric(STEP, "the part that comes from incorrect responses"),
    "from_truncated": Metric(STEP, "the part that comes from truncated responses"),
    "from_stop": Metric(STEP, "the part that comes from the tokens that stop"),
    "from_go_on": Metric(STEP, "the part that comes from the tokens that do not stop"),
    "from_path": Metric(STEP, "the part that comes from which path is taken"),
    "dead_groups": Metric("share, 0 to 1", "groups whose rewards are all equal"),
    "cut_share": Metric("share, 0 to 1", "responses cut at the cap"),
    "mean_length": Metric("tokens", "mean length, of the window"),
    "stop_penalty": Metric("reward per token", "the penalty per token at which length would not drift, if there is "
                           "one"),
    "forecast": Metric("tokens", "mean length at step forecast_step, the median of what is likely"),
    "forecast_low": Metric("tokens", "10 % are expected below"),
    "forecast_high": Metric("tokens", "10 % are expected above"),
    "forecast_longer": Metric("chance, 0 to 1", "that mean length is then above that of the window"),
    "forecast_step": Metric("step", "the step that the forecast is for"),
    "graded": Metric("1 or 0", "whether it is known which responses are correct; if not, all count as incorrect"),
    "responses": Metric("responses", "in the window, as far as this process saw them"),
    "steps": Metric("steps", "in the window"),
    "share_seen": Metric("share, 0 to 1", "responses of the run that this process sees"),
    "left_out": Metric("responses", "since the start, that were not scored, or whose group was not seen whole"),
    "seconds": Metric("seconds", "that this answer took"),
    "share_of_time": Metric("share, 0 to 1", "of the time of the run so far that went into all of this"),
    "errors": Metric("errors", "inside the watch since the start; the first one is a warning in the log"),
}
"""By name, without the prefix ``lossim/``. What is not known (nan, or not asked at a step) is not written."""


def of_finding(finding: Finding) -> dict[str, float]:
    """The metrics of a scheme on the log."""
    drift = finding.drift
    low, high = drift.range
    told = finding.significant and not finding.undecided
    found = {"drift": float(drift.length_per_kl), "drift_stderr": float(drift.length_per_kl.stderr),
             "drift_low": low, "drift_high": high,
             "way": float(np.sign(float(drift.length))) if told else 0.0,
             "decided": float(told and float(drift.length) != 0.0),
             "dead_groups": finding.dead_groups, "graded": float(finding.graded)}
    if drift.paced is not None:
        found["tokens_per_step"] = float(drift.paced.length_per_step)
    rate = finding.rate
    if finding.sources is not None:
        parts = finding.source("outcome").value * rate
        found |= dict(zip(("from_correct", "from_incorrect", "from_truncated"), parts.tolist(), strict=True))
    for role in ("stop", "go on", "path"):
        found[f"from_{role.replace(' ', '_')}"] = float(drift.source(role=role)) * rate
    return found


def of_log(log: dict[str, float | None]) -> dict[str, float]:
    """The metrics of the log itself, as an audit describes it."""
    named = {"cut_share": "truncation_rate", "mean_length": "mean_length", "responses": "responses", "steps": "steps"}
    return {name: float(value) for name, key in named.items() if (value := log[key]) is not None}


def of_stops(stops: tuple[Stop, ...]) -> dict[str, float]:
    """The metric of what would stop the drift."""
    needed = [stop.needed for stop in stops if stop.needed is not None]
    return {"stop_penalty": needed[0]} if needed else {}


def of_forecast(found: Forecast) -> dict[str, float]:
    """The metrics of a forecast, at its last step."""
    return {"forecast": float(found.length[-1]), "forecast_low": float(found.low[-1]),
            "forecast_high": float(found.high[-1]), "forecast_longer": float(found.longer[-1]),
            "forecast_step": float(found.steps[-1])}


def named(found: dict[str, float]) -> dict[str, float]:
    """The metrics under the names that are written, those that are known."""
    return {f"{PREFIX}{name}": float(found[name]) for name in METRICS if name in found and np.isfinite(found[name])}
