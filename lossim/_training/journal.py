"""A run as it is written down, step by step; what was done is kept, whatever ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lossim._engine import describe_policy, describe_scheme, versions
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._training.records import Entry
from lossim._training.result import Training, regime_notes
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["Journal"]


class Journal:
    """The entries of a run, the notes on it, and whether it was interrupted."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.notes: list[Note] = []
        self.interrupted = False

    def begin(self, start: Callable[[], Entry]) -> None:
        """Write down the state before the first step."""
        self.entries.append(start())

    def follow(self, advance: Callable[[], Entry], steps: int, progress: bool) -> None:
        """Take steps until they are done, an interrupt comes, or one cannot be taken."""
        try:
            with Progress(progress) as report:
                for number in range(len(self.entries), steps + 1):
                    self.entries.append(advance())
                    report.say(f"train: step {number:,} of {steps:,}")
        except KeyboardInterrupt:
            self.interrupted = True
        except (ValueError, ArithmeticError) as reason:
            if len(self.entries) == 1:
                raise
            self.notes.append(Note("ended early", f"ended after step {len(self.entries) - 1} of {steps}: {reason}"))

    def result(self, scheme: Scheme, start: Policy, provenance: dict[str, Any]) -> Training:
        """The run as the result that a user sees."""
        states = [entry.state for entry in self.entries]
        transitions = [entry.transition for entry in self.entries if entry.transition is not None]

        def column(name: str) -> Any:
            return np.array([getattr(state, name) for state in states])

        length = column("length")
        of_steps = (len(transitions), *length.shape[1:])

        def of_step(name: str) -> Any:
            return np.array([getattr(one, name) for one in transitions], dtype=np.float64).reshape(of_steps)

        truncation_rate = column("truncation_rate")
        accuracy = column("accuracy")
        notes = self.notes + regime_notes(length, truncation_rate, accuracy)
        return Training(
            length=length, length_by_class=column("length_by_class"), length_by_path=column("length_by_path"),
            length_by_outcome=column("length_by_outcome"), accuracy=accuracy, reward=column("reward"),
            truncation_rate=truncation_rate, path_probability=column("path_probability"),
            kl_to_start=column("kl_to_start"), composition=of_step("composition"), within=of_step("within"),
            dead_groups=of_step("dead_groups"), clip_fraction=of_step("clip_fraction"),
            learning_rate=of_step("learning_rate"), coordinates=column("coordinates"),
            critic=None if states[0].critic is None else column("critic"), notes=tuple(notes),
            interrupted=self.interrupted, start=start, scheme=scheme,
            provenance=provenance | {"steps": len(transitions), "scheme": describe_scheme(scheme),
                                     "versions": versions(), "policy": describe_policy(start)})
