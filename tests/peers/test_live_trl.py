"""lossim beside TRL's own trainers: what it says is an audit of what they generated, and they train as without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import lossim as ls

CAP, GROUP, STEPS = 16, 4, 5
RUNS = ("plain", "several", "rloo")
COLUMNS: dict[str, Any] = {"plain": None, "several": {"reward": {"Ends": 1.0, "early": 0.5}}}
TIMES = ("runtime", "per_second", "step_time")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each run twice, in a process of its own: trainers warn, set seeds and leave threads behind."""
    folder = tmp_path_factory.mktemp("live")
    script = Path(__file__).with_name("live_run.py")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return folder


def made(folder: Path, name: str, way: str) -> dict[str, Any]:
    return json.loads((folder / f"{name}_{way}.json").read_text(encoding="utf-8"))


def own(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the trainer logs by itself, but for times."""
    return [{key: value for key, value in entry.items() if not key.startswith(("lossim/", "eval_lossim/"))
             and not key.endswith(TIMES)} for entry in history]


def said(history: list[dict[str, Any]]) -> dict[int, dict[str, float]]:
    """What lossim said, by step."""
    return {entry["step"]: {key: value for key, value in entry.items() if key.startswith("lossim/")}
            for entry in history if "lossim/errors" in entry}


@pytest.mark.parametrize("name", RUNS)
def test_the_run_is_what_it_is_without(folder: Path, name: str) -> None:
    """Losses, rewards, lengths, evaluations, tables and weights, to the bit."""
    watched, alone = made(folder, name, "watched"), made(folder, name, "alone")
    assert len(own(alone["history"])) > STEPS
    assert own(watched["history"]) == own(alone["history"])
    assert watched["weights"] == alone["weights"]
    tables = [sorted((folder / f"{name}_{way}_completions").glob("*.parquet")) for way in ("watched", "alone")]
    assert [table.name for table in tables[0]] == [table.name for table in tables[1]]
    assert all(pq.read_table(one).equals(other) for one, other in zip(tables[0], map(pq.read_table, tables[1]),
                                                                     strict=True))


@pytest.mark.parametrize("name", RUNS)
def test_metrics_are_an_audit_of_what_was_kept(folder: Path, name: str) -> None:
    """What it kept, audited again with the scheme that the config is: all digits; TRL logs with half of them."""
    watched = made(folder, name, "watched")
    log = ls.Rollouts(**watched["columns"])
    scheme = {"plain": ls.schemes.grpo(), "several": None, "rloo": ls.schemes.rloo()}[name]
    metrics = watched["metrics"]
    assert metrics["lossim/errors"] == 0
    if scheme is not None:
        audit = ls.audit(scheme, log, what_if=False, replicates=20, max_tokens=CAP)
        drift = audit.findings[0].drift
        assert metrics["lossim/drift"] == pytest.approx(float(drift.length_per_kl), rel=2e-3)  # TRL's own eps is 1e-4
        assert metrics["lossim/dead_groups"] == audit.findings[0].dead_groups
    assert metrics["lossim/mean_length"] == pytest.approx(log.lengths.mean(), rel=1e-12)
    assert metrics["lossim/cut_share"] == pytest.approx(log.truncated.mean(), rel=1e-12)
    logged = said(watched["history"])[max(said(watched["history"]))]
    assert logged == pytest.approx(metrics, rel=1e-6)


@pytest.mark.parametrize("name", COLUMNS)
def test_what_was_kept_is_what_trl_wrote(folder: Path, name: str) -> None:
    """Lengths, rewards, groups and cuts, row by row, as lossim reads TRL's tables; a token is a character."""
    watched = made(folder, name, "watched")
    columns = {key: np.array(column) for key, column in watched["columns"].items()}
    log = ls.Rollouts.from_parquet(folder / f"{name}_watched_completions", tokenizer=len, max_tokens=CAP,
                                   columns=COLUMNS[name], on_error="report")
    assert log.reading is not None
    assert watched["left_out"] == log.reading.rows - log.reading.kept - log.reading.skipped.get(
        "row repeats the file before, under another step", 0)
    assert (log.lengths == columns["lengths"]).all()
    assert (log.steps == columns["steps"]).all()
    assert (log.truncated == columns["truncated"]).all()
    np.testing.assert_allclose(log.rewards, columns["rewards"], rtol=0, atol=1e-12)
    assert (log.prompt_ids == np.unique(columns["prompt_ids"], return_inverse=True)[1]).all()


def test_metrics_are_an_audit_of_trls_tables(folder: Path) -> None:
    """Afterwards, from the files and the config, by ``lossim audit``'s own road: all digits."""
    config = ls.read_config({"loss_type": "grpo", "beta": 0.0, "num_generations": GROUP, "max_completion_length": CAP,
                             "per_device_train_batch_size": 32, "gradient_accumulation_steps": 2},
                            trainer="trl==1.16.0", processes=1)
    log = ls.Rollouts.from_parquet(folder / "plain_watched_completions", tokenizer=len, max_tokens=CAP)
    audit = ls.audit(config.scheme, log, what_if=False, replicates=20, max_tokens=CAP, pace=ls.pace(log))
    metrics, drift = made(folder, "plain", "watched")["metrics"], audit.findings[0].drift
    right = {"drift": float(drift.length_per_kl), "drift_stderr": float(drift.length_per_kl.stderr),
             "drift_low": audit.range[0], "drift_high": audit.range[1],
             "tokens_per_step": float(drift.paced.length_per_step), "responses": 64 * STEPS, "steps": STEPS}
    assert {key: metrics[f"lossim/{key}"] for key in right} == pytest.approx(right, rel=1e-12)
    assert made(folder, "plain", "watched")["verdict"] == audit.verdict


def test_steps_without_a_generation_say_nothing(folder: Path) -> None:
    """Two updates for each generation."""
    history = said(made(folder, "several", "watched")["history"])
    assert {step: metrics["lossim/steps"] for step, metrics in history.items()} == {1: 1, 3: 2, 5: 3}


def test_evaluations_are_not_looked_at(folder: Path) -> None:
    history = made(folder, "rloo", "watched")["history"]
    assert any("eval_reward" in entry for entry in history)
    assert not any(key.startswith("eval_lossim") for entry in history for key in entry)
    assert {step: metrics["lossim/responses"] for step, metrics in said(history).items()} == {
        step: 64 * step for step in range(1, STEPS + 1)}
