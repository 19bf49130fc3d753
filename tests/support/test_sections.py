"""Results print from sections, and notes have codes."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossim as ls
from lossim import schemes

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=20),
                               wrong=ls.lengths.geometric(mean=30), max_tokens=64)
LOG = POLICY.sample(np.random.default_rng(0), prompts=12, group_size=4)


@pytest.fixture(scope="module")
def rollouts(tmp_path_factory: pytest.TempPathFactory) -> ls.Rollouts:
    """A log from a file, with a row that cannot be read and a column that is not."""
    path = tmp_path_factory.mktemp("logs") / "run.jsonl"
    rows = [{"prompt": int(prompt), "length": int(length), "reward": float(reward), "took": 1.5}
            for prompt, length, reward in zip(LOG.prompt_ids, LOG.lengths, LOG.rewards, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": 1, "length": 0, "reward": 1.0}]))
    return ls.Rollouts.read(path, max_tokens=64, on_error="report")


def result(name: str, rollouts: ls.Rollouts) -> Any:
    if name == "drift":
        return ls.drift(schemes.grpo(), POLICY)
    if name == "training":
        return ls.train(schemes.grpo(), POLICY, steps=1)
    if name == "finding":
        return ls.audit(LOG, schemes.grpo(), replicates=20).findings[0]
    if name == "audit":
        return ls.audit(LOG, schemes.grpo(), replicates=20)
    if name == "audit of several":
        return ls.audit(LOG, [schemes.grpo(), schemes.ppo()], replicates=20)
    if name == "fit":
        return ls.fit(LOG, replicates=2)
    if name == "fitted drift":
        return ls.fit(LOG, replicates=2).drift(schemes.grpo())
    if name == "config":
        return ls.read_config({"learning_rate": 1e-6}, trainer="trl==1.16", processes=1)
    return rollouts.reading


@pytest.mark.parametrize(("name", "sections"), [
    ("drift", ["verdict", "setting", "numbers", "notes"]),
    ("training", ["verdict", "title", "numbers", "notes"]),
    ("finding", ["verdict", "setting", "numbers", "notes"]),
    ("audit", ["verdict", "log", "setting", "numbers", "notes"]),
    ("audit of several", ["verdict", "log", "numbers", "notes"]),
    ("fit", ["fit", "classes", "notes"]),
    ("fitted drift", ["verdict", "numbers", "notes"]),
    ("config", ["verdict", "scheme", "source", "optimizer", "read", "assumed", "ignored"]),
    ("reading", ["rows", "left out", "first", "chosen"]),
])
def test_a_result_prints_its_sections(name: str, sections: list[str], rollouts: ls.Rollouts) -> None:
    found = result(name, rollouts)
    said = found.sections()
    assert list(said) == sections
    assert "\n".join(line for lines in said.values() for line in lines) == str(found)
    if name not in ("config", "reading"):
        assert [line.strip() for line in said["notes"]][-len(found.notes):] == [f"note: {note}" for note in found.notes]


def test_choices_of_a_reading_have_codes(rollouts: ls.Rollouts) -> None:
    assert rollouts.reading is not None
    choices = {getattr(choice, "code", None): choice for choice in rollouts.reading.choices}
    assert choices["not read"] == "not read: 'took'"
    assert choices["cut by length"] == "truncated: where length is 64 tokens, max_tokens"


def test_a_note_is_a_text(rollouts: ls.Rollouts, tmp_path: Path) -> None:
    assert rollouts.reading is not None
    note = next(choice for choice in rollouts.reading.choices if getattr(choice, "code", "") == "not read")
    assert json.loads(json.dumps([note])) == [note]
    assert repr(note) == repr(str(note))
    for again in (pickle.loads(pickle.dumps(note)), copy.deepcopy(note), copy.copy(note)):
        assert (again, again.code) == (note, "not read")
