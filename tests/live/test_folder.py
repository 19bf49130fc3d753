"""A folder that grows: each row is read once, when it is there, and the numbers are those of an audit afterwards."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls

CAP, GROUP, PROMPTS = 64, 8, 24
STORED = Path(__file__).parents[1] / "data"


def lines(step: int) -> list[str]:
    """A step's dump, in the columns that verl writes."""
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=10), max_tokens=CAP,
                                   wrong=ls.lengths.geometric(mean=30 + step))
    log = policy.sample(np.random.default_rng(step), prompts=PROMPTS, group_size=GROUP)
    return [json.dumps({"input": f"question {step}.{prompt}", "response_length": int(length), "score": float(reward),
                        "step": step}) + "\n"
            for prompt, length, reward in zip(log.prompt_ids, log.lengths, log.rewards, strict=True)]


def folder_of(path: Path, **options: Any) -> ls.live.Folder:
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=CAP, budget=None, window=4)
    return ls.live.Folder(path, watch, max_tokens=CAP, **options)


def agrees(found: dict[str, float], *files: Path) -> None:
    """The metrics are those of an audit of these files."""
    log = ls.Rollouts.read([str(file) for file in files], max_tokens=CAP)
    audit = ls.audit(ls.schemes.grpo(), log, what_if=False, replicates=20, max_tokens=CAP)
    finding = audit.findings[0]
    from_stop = float(finding.drift.source(role="stop")) * finding.rate
    right = {"drift": float(finding.length_per_kl), "from_stop": from_stop,
             "cut_share": audit.log["truncation_rate"], "mean_length": audit.log["mean_length"],
             "dead_groups": finding.dead_groups, "responses": audit.log["responses"], "steps": audit.log["steps"]}
    assert {name: found[f"lossim/{name}"] for name in right} == pytest.approx(right, rel=1e-12)
    assert found["lossim/errors"] == 0


def test_a_file_for_each_step(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    files = [tmp_path / f"{step}.jsonl" for step in range(8, 13)]  # 9 comes before 10
    assert folder.look() == []
    told = []
    for step, file in enumerate(files, start=8):
        file.write_text("".join(lines(step)))
        told += folder.look()
    told += folder.look()
    assert [step for step, _ in told] == [8, 9, 10, 11, 12]
    for i, (_, found) in enumerate(told):
        agrees(found, *files[max(i - 3, 0):i + 1])
    assert folder.look() == []


def test_what_is_there_at_first_is_one_answer(tmp_path: Path) -> None:
    files = [tmp_path / f"{step}.jsonl" for step in range(1, 7)]
    for step, file in enumerate(files, start=1):
        file.write_text("".join(lines(step)))
    folder = folder_of(tmp_path)
    (step, found), = folder.look(final=True)
    assert (step, folder.passed_over) == (6, 5)
    agrees(found, *files[2:])


def test_half_of_a_line_is_waited_for(tmp_path: Path) -> None:
    file, folder = tmp_path / "log.jsonl", folder_of(tmp_path)
    text = "".join(line for step in (1, 2) for line in lines(step)).encode()
    told = []
    cuts = (0, 50, 9_000, 9_010, len(text) - 500, len(text) - 30, len(text) - 1)  # within lines, and within groups
    for start, end in pairwise(cuts):
        with open(file, "ab") as opened:
            opened.write(text[start:end])
        told.append([step for step, _ in folder.look()])
    assert told == [[], [], [], [1], [], []]
    (step, found), = folder.look()  # nor does its last line end in a newline, and it is whole
    assert (step, folder.left_out) == (2, 0)
    agrees(found, file)


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(0, 4_000), max_size=10, unique=True))
def test_wherever_a_writer_is_interrupted(cuts: list[int]) -> None:
    """Every row once, and groups whole, in whatever portions a file of three small steps is written.

    Something comes between any two looks: after a quiet one the last step is taken as it is.
    """
    every = [line for step in (1, 2, 3) for line in lines(step)[:GROUP * 6]]
    text = "".join(every).encode()
    with TemporaryDirectory() as place:
        file, folder = Path(place) / "log.jsonl", folder_of(Path(place))
        told = []
        for start, end in pairwise([0, *sorted(min(cut * len(text) // 4_000, len(text)) for cut in cuts), len(text)]):
            with open(file, "ab") as opened:
                opened.write(text[start:end])
            told += folder.look()
        told += folder.look() + folder.look()
        whole = ls.Rollouts.read(file, max_tokens=CAP)
    assert [step for step, _ in told][-1] == 3
    kept = folder.watch.rollouts
    assert (kept.lengths == whole.lengths).all()
    assert kept.steps is not None
    assert (kept.steps == whole.steps).all()
    assert (np.unique(kept.prompt_ids, return_inverse=True)[1] == whole.prompt_ids).all()
    assert (folder.watch.errors, folder.left_out) == (0, 0)


def test_rows_that_come_late_are_added(tmp_path: Path) -> None:
    """A step that was quiet and goes on after all is answered again, with all of its rows."""
    file, folder = tmp_path / "1.jsonl", folder_of(tmp_path)
    every = lines(1)
    file.write_text("".join(every[:64]))
    assert folder.look() == []
    (_, part), = folder.look()
    with open(file, "a") as opened:
        opened.write("".join(every[64:]))
    folder.look()
    (_, whole), = folder.look()
    assert (part["lossim/responses"], whole["lossim/responses"]) == (64, PROMPTS * GROUP)
    agrees(whole, file)


def test_bad_rows_are_counted_and_others_read(tmp_path: Path) -> None:
    file, folder = tmp_path / "1.jsonl", folder_of(tmp_path)
    every = lines(1)
    file.write_text("".join([*every[:80], "not json\n", '{"input": "x", "score": 1, "step": 1}\n', *every[80:]]))
    (_, found), = folder.look(final=True)
    assert (folder.left_out, found["lossim/responses"], found["lossim/errors"]) == (2, PROMPTS * GROUP, 0)


def test_what_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (tmp_path / "1.jsonl").write_text('{"loss": 0.5}\n')
    assert folder.look(final=True) == []
    assert folder.watch.errors == 1
    (tmp_path / "2.jsonl").write_text("".join(lines(2)))
    (step, found), = folder.look(final=True)
    assert (step, found["lossim/responses"], found["lossim/errors"]) == (2, PROMPTS * GROUP, 1)


def test_files_without_responses_are_left_aside(tmp_path: Path) -> None:
    """Metrics that grow beside the responses are an error once, and hold nothing up for longer than a step."""
    metrics, folder = tmp_path / "metrics.jsonl", folder_of(tmp_path)
    told = []
    for step in (1, 2, 3):
        with open(metrics, "a") as opened:
            opened.write('{"step": 1, "loss": 0.5}\n')
        told += folder.look()
        (tmp_path / f"{step}.jsonl").write_text("".join(lines(step)))
        told += folder.look()
    assert [step for step, _ in told] == [1, 2]
    assert folder.watch.errors == 1
    assert [step for step, _ in folder.look()] == [3]


def test_a_run_that_goes_back_begins_anew(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for step in (5, 6):
        (tmp_path / f"{step}.jsonl").write_text("".join(lines(step)))
        folder.look(final=True)
    again = tmp_path / "5.jsonl"
    again.write_text("".join(lines(5)[:PROMPTS * GROUP // 2]))
    (step, found), = folder.look(final=True)
    assert (step, found["lossim/steps"]) == (5, 1)
    agrees(found, again)


def test_trl_tables(tmp_path: Path) -> None:
    """What TRL wrote: the second table repeats the first, and counts once; half a table is waited for."""
    files = sorted((STORED / "trl_chat_completions").glob("*.parquet"))
    columns = {"reward": {"digits": 1.0, "closed_or_none": 0.5}, "text": None}
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=16, budget=None)
    folder = ls.live.Folder(tmp_path, watch, max_tokens=16, columns=columns)
    told = []
    for file in files:
        whole = file.read_bytes()
        (tmp_path / file.name).write_bytes(whole[:len(whole) // 2])
        assert folder.look() == []
        (tmp_path / file.name).write_bytes(whole)
        told += folder.look()
    told += folder.look()
    log = ls.Rollouts.from_parquet(STORED / "trl_chat_completions", max_tokens=16, columns=columns)
    assert log.steps is not None
    assert [step for step, _ in told] == sorted(set(log.steps.tolist()))
    assert told[-1][1]["lossim/responses"] == len(log)
    assert told[-1][1]["lossim/mean_length"] == pytest.approx(log.lengths.mean(), rel=1e-12)


def test_verl_dumps(tmp_path: Path) -> None:
    """What verl wrote, text without lengths, beside a file that is no log."""
    (tmp_path / "config.json").write_text('{"lr": 1e-6}')
    watch = ls.live.Watch(ls.schemes.grpo(), max_tokens=16, budget=None)
    folder = ls.live.Folder(tmp_path, watch, tokenizer=len, max_tokens=16)
    told = []
    for step in (9, 10, 11):
        shutil.copy(STORED / "verl_rollouts" / f"{step}.jsonl", tmp_path)
        told += folder.look()
    told += folder.look()
    log = ls.Rollouts.read(STORED / "verl_rollouts", tokenizer=len, max_tokens=16)
    assert [step for step, _ in told] == [9, 10, 11]
    assert told[-1][1]["lossim/responses"] == len(log)
    assert told[-1][1]["lossim/mean_length"] == pytest.approx(log.lengths.mean(), rel=1e-12)
    assert watch.errors == 0


def test_estimated_lengths_stay_in_doubt(tmp_path: Path) -> None:
    """Without a tokenizer, as an audit has it."""
    shutil.copy(STORED / "verl_rollouts" / "9.jsonl", tmp_path)
    folder = folder_of(tmp_path)
    folder.look(final=True)
    assert "lengths are estimated from characters" in folder.watch.verdict


def test_there_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must be a folder that exists"):
        folder_of(tmp_path / "none")
