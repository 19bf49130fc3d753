"""A whole training run of verl, with lossim beside it: what it says is an audit of the dumps, the run is as without.

Two runs take two to four minutes, so this is for ``make peers-train`` and not among the tests of ``make peers``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lossim as ls
from tests.peers.test_live_verl import audited, metrics

CAP, STEPS, PROMPTS, GROUP = 16, 4, 8, 4
# Times, memory of the machine, and what lossim says.
OTHER = ("timing_", "perf/", "actor/perf/", "lossim/")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole_verl")
    script = Path(__file__).with_name("live_verl_train.py")
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    logs = "".join(path.read_text(encoding="utf-8")[-4000:] for path in folder.glob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    return folder


def own(folder: Path, way: str) -> dict[int, dict[str, Any]]:
    """verl's own metrics of each step."""
    return {step: {name: value for name, value in said.items() if not name.startswith(OTHER)}
            for step, said in metrics(folder, way).items()}


def test_the_run_is_as_without(folder: Path) -> None:
    """Every number that verl tracks, and every response that it dumps, to the bit, through updates that move it."""
    alone = own(folder, "alone")
    assert list(alone) == list(range(1, STEPS + 1))
    assert own(folder, "watched") == alone
    assert not any(name.startswith("lossim/") for said in metrics(folder, "alone").values() for name in said)
    assert all(alone[step]["actor/grad_norm"] > 0 for step in alone)
    for step in alone:
        watched, dumped = ((folder / f"{way}_dumps" / f"{step}.jsonl").read_bytes() for way in ("watched", "alone"))
        assert watched == dumped
        assert len(dumped.splitlines()) == PROMPTS * GROUP


def test_metrics_are_an_audit_of_the_dumps(folder: Path) -> None:
    """The scheme is read from the command of the run. Few digits are paid: length is said to fall, and falls."""
    config = ls.read_config(folder / "alone.sh", trainer="verl", version="0.9.1")
    watched = metrics(folder, "watched")
    for step, said in watched.items():
        right = audited(config.scheme, folder, "watched", step, CAP, 0.5)
        assert {name: said[f"lossim/{name}"] for name in right} == pytest.approx(right, rel=1e-12)
        assert said["lossim/responses"] == PROMPTS * GROUP * step
        assert said["lossim/way"] == -1
    assert watched[STEPS]["response_length/mean"] < watched[1]["response_length/mean"]
