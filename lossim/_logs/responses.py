"""What responses show of themselves: how many, how long, how good; a row for each; how their lengths are spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from lossim._display import Page, Result, Section, Table, assumed, counted, figure
from lossim._logs.reading import Reading
from lossim._support.numbering import numbered
from lossim._support.plain import plain
from lossim._support.text import Sections
from lossim._support.types import BoolArray, FloatArray, IntArray

NAMES = {"steps": "step", "prompt_ids": "prompt", "classes": "class", "path_names": "path", "lengths": "length",
         "rewards": "reward", "correct": "correct", "truncated": "truncated", "kl": "kl", "answered": "answered",
         "targets": "target"}
"""Columns of a log, and what they are called in its tidy table."""


class Responses(Result):
    """Base of `lossim.Rollouts`, whose attributes it reads."""

    lengths: IntArray
    rewards: FloatArray
    prompt_ids: IntArray
    truncated: BoolArray | None
    correct: BoolArray | None
    steps: IntArray | None
    class_names: tuple[str, ...] | None
    reading: Reading | None

    def __repr__(self) -> str:
        mean = f", mean length {self.lengths.mean():.4g}" if len(self.lengths) else ""
        return f"Rollouts({len(self.lengths):,} responses to {numbered(self.prompt_ids)[1]:,} prompts{mean})"

    def sections(self) -> Sections:
        """The lines that it prints: the responses, and how they were read."""
        return {"responses": [repr(self)], **({} if self.reading is None else self.reading.sections())}

    def to_dict(self) -> dict[str, Any]:
        """What the responses are like, ready for strict JSON (None for what is not known); `to_dataframe` has each."""
        means = {"mean_length": self.lengths, "accuracy": self.correct, "truncation_rate": self.truncated,
                 "mean_reward": self.rewards}
        steps = None if self.steps is None else len(np.unique(self.steps))
        return {"responses": len(self.lengths), "prompts": int(numbered(self.prompt_ids)[1]), "steps": steps,
                "longest": int(self.lengths.max()) if len(self.lengths) else None,
                **{name: plain(None if values is None or not len(values) else float(np.mean(values)))
                   for name, values in means.items()},
                "reading": None if self.reading is None else self.reading.to_dict()}

    def _columns(self) -> dict[str, Any]:
        """A row for each response, a column for all that is known of them."""
        known = {called: getattr(self, name) for name, called in NAMES.items()}
        if known["class"] is not None and self.class_names is not None:
            known["class"] = np.asarray(self.class_names)[known["class"]]
        return {called: values for called, values in known.items() if values is not None}

    def _page(self) -> Page:
        said = {name: value for name, value in self.to_dict().items() if name != "reading" and value is not None}
        rows = tuple((name.replace("_", " "), figure(value, ",.4g" if isinstance(value, float) else ","))
                     for name, value in said.items())
        notes = () if self.reading is None else tuple(
            line for name, lines in self.reading.sections().items() if name != "rows" for line in lines)
        read = {} if self.reading is None else {"read": self.reading.sections()["rows"][0]}
        return self._paged("rollouts", Section(title="The responses", parts=(
            Table(title="", columns=("", "value"), rows=rows),
            counted("How long responses are", self._groups(), "tokens"))), assumed(notes, read))

    def _groups(self) -> dict[str, FloatArray]:
        """Lengths by outcome, as far as it is known."""
        lengths = self.lengths.astype(np.float64)
        cut = np.zeros(len(lengths), dtype=np.bool_) if self.truncated is None else self.truncated
        right = None if self.correct is None else self.correct & ~cut
        groups = {"responses": lengths[~cut]} if right is None else {
            "correct": lengths[right], "incorrect": lengths[~right & ~cut]}
        return groups if self.truncated is None else groups | {"truncated": lengths[cut]}
