"""lossim beside verl's own loop: what it says is an audit of verl's dumps, and the loop does as without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossim as ls

CAP, STEPS, QUESTIONS, GROUP = 16, 3, 21, 4
TIMES = ("timing_", "perf/")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loop twice, in a process of its own: it sets seeds, and its class is changed by what is tested."""
    folder = tmp_path_factory.mktemp("live_verl")
    script = Path(__file__).with_name("live_verl_run.py")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=300,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return folder


def metrics(folder: Path, way: str) -> dict[int, dict[str, Any]]:
    """What verl's tracking wrote into its file."""
    lines = (folder / f"{way}_metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {entry["step"]: entry["data"] for entry in map(json.loads, lines)}


def dump(folder: Path, way: str, step: int) -> list[dict[str, Any]]:
    """What verl dumped, but for rows that pad the batch, whose names are random."""
    rows = map(json.loads, (folder / f"{way}_dumps" / f"{step}.jsonl").read_text(encoding="utf-8").splitlines())
    return [row for row in rows if not row["uid"].startswith("pad")]


def test_verl_gets_its_own_class_by_the_line_of_the_config(folder: Path) -> None:
    assert json.loads((folder / "manager.json").read_text()) == "verl.trainer.ppo.v1.agent_loop_tq.AgentLoopManagerTQ"


def test_the_loop_does_as_without(folder: Path) -> None:
    """Its own metrics and its dumps, to the bit."""
    watched, alone = ({step: {name: value for name, value in found.items() if not name.startswith((*TIMES, "lossim/"))}
                       for step, found in metrics(folder, way).items()} for way in ("watched", "alone"))
    assert len(alone) == STEPS
    assert watched == alone
    assert not any(name.startswith("lossim/") for found in metrics(folder, "alone").values() for name in found)
    for step in range(1, STEPS + 1):
        assert dump(folder, "watched", step) == dump(folder, "alone", step)


def audited(scheme: Any, folder: Path, way: str, step: int, cap: int, correct_above: float) -> dict[str, float]:
    """What an audit of verl's dumps up to this step says, with the same draws of prompts, by the names of metrics."""
    files = [str(folder / f"{way}_dumps" / f"{each}.jsonl") for each in range(1, step + 1)]
    log = ls.Rollouts.read(files, tokenizer=len, max_tokens=cap)
    audit = ls.audit(scheme, log, what_if=False, correct_above=correct_above, max_tokens=cap, replicates=20)
    finding, drift = audit.findings[0], audit.findings[0].drift
    parts = finding.source("outcome").value * finding.rate
    told = finding.significant and not finding.undecided
    return {"drift": float(finding.length_per_kl), "drift_stderr": float(finding.length_per_kl.stderr),
            "drift_low": audit.range[0], "drift_high": audit.range[1], "from_correct": parts[0],
            "from_incorrect": parts[1], "from_truncated": parts[2],
            "from_stop": float(drift.source(role="stop")) * finding.rate,
            "cut_share": audit.log["truncation_rate"], "mean_length": audit.log["mean_length"],
            "dead_groups": finding.dead_groups, "steps": step, "errors": 0,
            "way": np.sign(float(finding.length)) if told else 0}


def test_metrics_are_an_audit_of_verls_dumps(folder: Path) -> None:
    """By the config of the run; rows that pad the batch are in neither."""
    config = ls.read_config(json.loads((folder / "config.json").read_text()), trainer="verl", version="0.9.1")
    for step, said in metrics(folder, "watched").items():
        right = audited(config.scheme, folder, "watched", step, CAP, 0.0)
        assert {name: said[f"lossim/{name}"] for name in right} == pytest.approx(right, rel=1e-12)
        assert said["lossim/responses"] == QUESTIONS * GROUP * step
        assert said["lossim/graded"] == 1
