"""Logs that are good: the same rollouts from every format, under every name that is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lossim as ls
from log_files import ALIASES, COLUMNS, read, values, write

ROWS: list[dict[str, Any]] = [
    {"prompt": "two, \"quoted\"\nlines", "length": 3, "reward": 0.1, "truncated": False, "correct": True,
     "class": "level 10", "step": 1, "kl": -0.25, "answered": 2, "path": "long"},
    {"prompt": "é 日本", "length": 7, "reward": -1e300, "truncated": True, "correct": False, "class": "level 2",
     "step": 1, "kl": 0.0, "answered": 7, "path": "short"},
    {"prompt": "two, \"quoted\"\nlines", "length": 1, "reward": 5e-324, "truncated": False, "correct": False,
     "class": "level 10", "step": 2, "kl": 1e-3, "answered": 1, "path": "long"}]
EXPECTED: dict[str, list[Any]] = {
    "lengths": [3, 7, 1], "rewards": [0.1, -1e300, 5e-324], "prompt_ids": [0, 1, 0], "truncated": [False, True, False],
    "correct": [True, False, False], "classes": [1, 0, 1], "steps": [1, 1, 2], "kl": [-0.25, 0.0, 1e-3],
    "answered": [2.0, 7.0, 1.0], "path_names": ["long", "short", "long"]}


def choices(rollouts: ls.Rollouts) -> tuple[str, ...]:
    assert rollouts.reading is not None
    return rollouts.reading.choices


NAMES = ["log.jsonl", "log.ndjson", "log.jsonl.gz", "log.csv", "log.csv.gz", "log.tsv", "log.tsv.gz", "log.parquet"]


@pytest.mark.parametrize("name", NAMES)
def test_every_format_gives_the_same_rollouts(tmp_path: Path, name: str) -> None:
    rollouts = read(tmp_path / name, ROWS)
    assert values(rollouts) == EXPECTED
    assert rollouts.class_names == ("level 2", "level 10")
    types = [getattr(rollouts, column).dtype for column in COLUMNS]
    assert types == [np.int32, np.float64, np.int32, np.bool_, np.bool_, np.int32, np.int32, np.float64,
                     np.float64, np.dtype("<U5")]
    assert not any(getattr(rollouts, column).flags.writeable for column in COLUMNS)
    reading = rollouts.reading
    assert reading is not None
    assert (reading.rows, reading.kept, reading.skipped, reading.choices) == (3, 3, {}, ())
    assert reading.files == (str(tmp_path / name),)


@pytest.mark.parametrize(("kind", "like"), [("jsonl", "x.jsonl"), ("csv", "x.csv"), ("parquet", "x.parquet"),
                                            ("jsonl", "x.jsonl.gz"), ("csv", "x.csv.gz")])
def test_content_and_not_the_name_counts_where_the_format_is_said(tmp_path: Path, kind: str, like: str) -> None:
    file = write(tmp_path / like, ROWS).rename(tmp_path / "a log")
    assert values(getattr(ls.Rollouts, f"from_{kind}")(str(file))) == EXPECTED


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet"])
def test_files_of_a_folder_are_read_in_natural_order(tmp_path: Path, name: str) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"{number}.{name}", [ROWS[0] | {"length": number, "prompt": f"p{number % 2}", "answered": 1}])
    (tmp_path / ".hidden.jsonl").write_text("junk")
    (tmp_path / "notes.txt").write_text("junk")
    rollouts = ls.Rollouts.read(tmp_path)
    assert rollouts.lengths.tolist() == [1, 2, 10]
    assert rollouts.prompt_ids.tolist() == [0, 1, 1]
    some = ls.Rollouts.read([tmp_path / f"10.{name}", str(tmp_path / f"2.{name}")])
    assert some.lengths.tolist() == [10, 2]


def test_other_formats_in_a_folder_are_left_aside_and_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", ROWS)
    write(tmp_path / "b.csv", ROWS)
    assert choices(ls.Rollouts.from_csv(tmp_path)) == (
        f"files: 1 of another format left aside in {tmp_path} (a.jsonl)",)


NAMED = [(field, name) for field, names in ALIASES.items() for name in names if field not in (
    "tokens", "mask", "text", "target")
    and name not in ("response_tokens", "completion_tokens", "output_tokens", "group_idx")
    and (field != "class" or name in ("class", "classes"))]  # elsewhere: test_groups.py, test_targets.py


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("field", "name"), NAMED)
def test_usual_names_are_known_and_reported(tmp_path: Path, suffix: str, field: str, name: str) -> None:
    rows = [{name if key == field else key: value for key, value in row.items()} for row in ROWS]
    rollouts = read(tmp_path / f"log.{suffix}", rows)
    assert values(rollouts) == EXPECTED
    assert [choice.split(",")[0] for choice in choices(rollouts)] == (
        [] if name == field else [f"{field}: column {name!r}"])


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("name", ["tokens", "completion_ids", "response_tokens", "mine"])
def test_token_ids_are_counted(tmp_path: Path, suffix: str, name: str) -> None:
    rows = [{"prompt": 1, name: [5] * n, "reward": 0.0, "step": 0} for n in (1, 4, 2)]
    rows = rows if suffix != "csv" else [row | {name: json.dumps(row[name])} for row in rows]
    columns = {"tokens": "mine"} if name == "mine" else None
    rollouts = read(tmp_path / f"log.{suffix}", rows, columns=columns, max_tokens=4)
    assert rollouts.lengths.tolist() == [1, 4, 2]
    assert rollouts.truncated is not None
    assert rollouts.truncated.tolist() == [False, True, False]
    assert "truncated: where length is 4 tokens, max_tokens" in choices(rollouts)


class Encoded(dict[str, Any]):
    """What a tokenizer of Hugging Face returns, more or less."""


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("tokenizer", [
    lambda text: len(text.split()), str.split, lambda text: np.array(text.split()),
    lambda text: Encoded(input_ids=text.split()), lambda text: np.int64(len(text.split()))],
    ids=["number", "list", "array", "mapping", "numpy number"])
def test_text_is_tokenized_and_the_stop_token_added(tmp_path: Path, suffix: str, tokenizer: Any) -> None:
    rows = [{"prompt": "p", "completion": " ".join("x" * n), "score": 0, "step": 0} for n in (0, 2, 3, 4)]
    rollouts = read(tmp_path / f"log.{suffix}", rows, tokenizer=tokenizer)
    assert rollouts.lengths.tolist() == [1, 3, 4, 5]
    assert rollouts.truncated is None
    capped = read(tmp_path / f"log.{suffix}", rows, tokenizer=tokenizer, max_tokens=4)
    assert capped.lengths.tolist() == [1, 3, 4, 4]  # the third stopped at the cap, the fourth was cut there
    assert capped.truncated is not None
    assert capped.truncated.tolist() == [False, False, False, True]
    said = "length: tokens of 'completion' by the tokenizer, and 1 for the stop token unless cut at 4"
    assert said in choices(capped)
    told = [row | {"truncated": i in (1, 3)} for i, row in enumerate(rows)]
    assert read(tmp_path / f"told.{suffix}", told, tokenizer=tokenizer).lengths.tolist() == [1, 2, 4, 4]
    told_and_capped = read(tmp_path / f"told.{suffix}", told, tokenizer=tokenizer, max_tokens=5)
    assert told_and_capped.lengths.tolist() == [1, 5, 4, 5]  # what was cut was cut at the cap


def test_text_that_comes_back_as_a_few_more_tokens_counts_as_cut(tmp_path: Path) -> None:
    """What was decoded need not be encoded as it was; far more tokens are another cap's."""
    rows = [{"prompt": "p", "completion": "x " * count, "reward": 1.0} for count in (18, 19, 20, 21, 22)]
    rollouts = read(tmp_path / "log.jsonl", rows, tokenizer=str.split, max_tokens=20)
    assert rollouts.lengths.tolist() == [19, 20, 20, 20, 20]
    assert rollouts.truncated.tolist() == [False, False, True, True, True]
    assert rollouts.reading.choices[-1] == ("length: 2 texts come to more than 20 tokens by the tokenizer, max_tokens, "
                                            "and count as that many")
    told = [row | {"truncated": False} for row in rows]
    again = read(tmp_path / "told.jsonl", told, tokenizer=str.split, max_tokens=20)
    assert again.lengths.tolist() == [19, 20, 20, 20, 20]
    with pytest.raises(ValueError, match="must be at most 20, max_tokens"):
        read(tmp_path / "far.jsonl", [*rows, rows[0] | {"completion": "x " * 24}], tokenizer=str.split, max_tokens=20)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_chat_messages_are_grouped_and_counted_by_content(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": text}],
             "completion": [{"role": "assistant", "content": "a b"}, {"role": "tool", "content": " c"}],
             "reward": 1.0, "step": 3} for text in ("one", "two", "one")]
    if suffix == "jsonl":
        rows[2]["prompt"] = [dict(reversed(message.items())) for message in rows[2]["prompt"]]
    rollouts = read(tmp_path / f"log.{suffix}", rows, tokenizer=str.split)
    assert rollouts.prompt_ids.tolist() == [0, 1, 0]
    assert rollouts.lengths.tolist() == [3, 3, 3]


def test_of_a_key_given_twice_the_last_value_counts(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"prompt": "p", "length": 1, "reward": 1.0, "reward": 0.5}\n')
    assert ls.Rollouts.read(tmp_path).rewards.tolist() == [0.5]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_rewards_of_several_columns(tmp_path: Path, suffix: str) -> None:
    rows = [{"prompt": 0, "length": 1, "step": 0, "a": 1.0, "b": 2.0}, {"prompt": 0, "length": 1, "step": 0, "a": None,
                                                                      "b": -1.0}]
    summed = read(tmp_path / f"log.{suffix}", rows, columns={"reward": ["a", "b"]})
    assert summed.rewards.tolist() == [3.0, -1.0]
    assert choices(summed) == (
        "reward: sum of 'a', 'b'; null or nan in some but not all counts 0",
        "truncated: unknown, there is no such column and no max_tokens",
        "reward: 1 entries of the reward's columns are null or nan and count 0")
    weighted = read(tmp_path / f"log.{suffix}", rows, columns={"reward": {"a": 0.5, "b": 2}})
    assert weighted.rewards.tolist() == [4.5, -2.0]
    one = read(tmp_path / f"log.{suffix}", rows, columns={"reward": {"b": 0.5}})
    assert one.rewards.tolist() == [1.0, -0.5]


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_table_of_completions_as_trl_writes_it(tmp_path: Path, suffix: str) -> None:
    rows = [{"step": 4, "prompt": "p", "completion": "a b c", "format_reward": 0.25, "accuracy_reward": 1.0,
             "solution": "12x", "advantage": 0.7}] * 2
    rollouts = read(tmp_path / f"log.{suffix}", rows, tokenizer=str.split, max_tokens=3)
    assert rollouts.rewards.tolist() == [1.25, 1.25]
    assert rollouts.truncated is not None
    assert rollouts.truncated.all()
    assert any("'format_reward', 'accuracy_reward'" in choice and "TRL" in choice for choice in choices(rollouts))


def test_tables_that_trl_wrote_again_under_the_next_step_are_left_out(tmp_path: Path) -> None:
    rows = [{"step": 1, "prompt": "p", "completion": text, "paid": 1.0, "advantage": 0.0} for text in ("a", "b")]
    for step, texts in enumerate([rows, rows, rows[::-1], rows[::-1]]):
        write(tmp_path / f"completions_{step:05d}.parquet", [row | {"step": step} for row in texts])
    rollouts = ls.Rollouts.read(tmp_path, tokenizer=str.split)
    assert rollouts.steps is not None
    assert rollouts.steps.tolist() == [0, 0, 2, 2]
    assert rollouts.reading is not None
    assert (rollouts.reading.rows, rollouts.reading.kept) == (8, 4)
    assert rollouts.reading.skipped == {"row repeats the file before, under another step": 4}


def test_a_dump_as_verl_writes_it(tmp_path: Path) -> None:
    rows = [{"input": text, "output": "a\u2028b", "gts": None, "score": 0.5, "step": 7, "acc": acc, "uid": f"u_{i}_0"}
            for i, (text, acc) in enumerate([("x", "True"), ("y", "0.0"), ("x", "1.0"), ("y", "False")])]
    rollouts = read(tmp_path / "7.jsonl", rows, tokenizer=len)
    assert values(rollouts) == {"lengths": [4] * 4, "rewards": [0.5] * 4, "prompt_ids": [0, 1, 0, 1], "steps": [7] * 4,
                                "correct": [True, False, True, False]}
    assert "prompt: column 'input', grouped by its content" in choices(rollouts)
    more = read(tmp_path / "7.jsonl", [row | {"overlong_reward": -0.5} for row in rows], tokenizer=len)
    assert any("'overlong_reward' is not added" in choice for choice in choices(more))


def test_rows_with_which_verl_fills_a_batch_up_are_left_out(tmp_path: Path) -> None:
    rows = [{"input": "x", "output": text, "score": 0.5, "step": 7, "uid": uid} for text, uid in [
        ("ab", "u_0_0"), *[("", f"pad{'0a' * 16}_{i}_0") for i in range(30)], ("", "padded_1_0")]]
    rollouts = read(tmp_path / "7.jsonl", rows, tokenizer=len)
    assert rollouts.lengths.tolist() == [3, 1]
    assert rollouts.reading is not None
    assert rollouts.reading.skipped == {"row is padding that verl added to its batch": 30}
    assert len(rollouts.reading.places) == 20
    with pytest.raises(ValueError, match=r"7\.jsonl:33: reward must be finite, got nan"):
        read(tmp_path / "7.jsonl", [*rows, rows[0] | {"score": float("nan")}], tokenizer=len)


def test_groups_of_verl_with_one_text_in_one_step_are_told_apart(tmp_path: Path) -> None:
    rows = [{"input": text, "output": "", "score": 0.5, "step": step, "uid": f"{group}_{i}_0"}
            for i, (text, step, group) in enumerate([
                ("x", 1, "a"), ("x", 1, "b"), ("x", 1, "a"), ("y", 1, "c"), ("x", 2, "d"), ("x", 2, "d"),
                ("x", 2, "e")])]
    assert read(tmp_path / "7.jsonl", rows, tokenizer=len).prompt_ids.tolist() == [0, 1, 0, 2, 0, 0, 1]
    by_text = read(tmp_path / "7.jsonl", [row | {"uid": "u"} for row in rows], tokenizer=len)
    assert by_text.prompt_ids.tolist() == [0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize(("said", "cut"), [
    ("length", True), ("stop", False), ("LENGTH", True), ("max_tokens", True), ("eos", False), (1, True), (0.0, False),
    ("false", False), ({"type": "length", "length": 9}, True), ({"type": "stop", "matched": 2}, False)])
def test_reasons_for_the_end_say_what_was_truncated(tmp_path: Path, said: Any, cut: bool) -> None:
    rows = [{"prompt": 0, "length": 2, "reward": 0.0, "finish_reason": said}]
    rollouts = read(tmp_path / "log.jsonl", rows)
    assert rollouts.truncated is not None
    assert rollouts.truncated.tolist() == [cut]


def test_columns_that_hold_only_null_are_unknown(tmp_path: Path) -> None:
    rows = [row | {"correct": None, "kl": None} for row in ROWS]
    for suffix in ("jsonl", "csv", "parquet"):
        rollouts = read(tmp_path / f"log.{suffix}", rows)
        assert rollouts.correct is None
        assert rollouts.kl is None


def test_a_field_can_be_left_unread(tmp_path: Path) -> None:
    rollouts = read(tmp_path / "log.csv", ROWS, columns={"correct": None, "class": None, "step": None})
    assert (rollouts.correct, rollouts.classes, rollouts.class_names, rollouts.steps) == (None, None, None, None)


def test_line_ends_blank_lines_and_byte_order_marks_are_no_rows(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "log.jsonl").write_bytes(b"\xef\xbb\xbf" + "\r\n \n\n".join(lines).encode())
    assert values(ls.Rollouts.read(tmp_path)) == EXPECTED
    plain = write(tmp_path / "log.csv", ROWS).read_bytes()
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbf" + plain + b"\r\n\r\n")
    assert values(ls.Rollouts.from_csv(tmp_path)) == EXPECTED


def test_progress_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path / "log.csv", ROWS, progress=True)
    assert capsys.readouterr() == ("", "\r3 rows read, 3 kept, in log.csv\n")


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_a_response_may_have_no_answer(tmp_path: Path, name: str) -> None:
    rows = [{"prompt": "a", "length": 4, "reward": 1.0, "think_end": at} for at in (3, None, 4)]
    rollouts = read(tmp_path / name, rows)
    np.testing.assert_array_equal(rollouts.answered, [3.0, np.nan, 4.0])
    assert "answered: column 'think_end', the position at which the answer is there" in choices(rollouts)


@pytest.mark.parametrize(("at", "said"), [
    (0, "answered must be a position, a whole number from 1, got 0"), (2.5, "a whole number from 1, got 2.5"),
    (5, "answered must be at most the length, got 5"), ("soon", "answered must be a number, or nothing where")])
def test_positions_of_answers_are_checked(tmp_path: Path, at: Any, said: str) -> None:
    rows = [{"prompt": "a", "length": 4, "reward": 1.0, "answered": value} for value in (1, 2, at)]
    named = {"answered": "answered"}
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "log.jsonl", rows, columns=named)
    assert len(read(tmp_path / "log.jsonl", rows, columns=named, on_error="report")) == 2


@pytest.mark.parametrize(("name", "at"), [("thinking_tokens", 0), ("answered", -1), ("answered", False),
                                          ("first_correct", 2.5), ("think_end", 5)])
def test_a_column_that_nobody_named_is_set_aside_where_it_holds_no_positions(tmp_path: Path, name: str, at: Any
                                                                             ) -> None:
    rows = [{"prompt": "a", "length": 4, "reward": 1.0, name: value} for value in (1, 2, at)]
    rollouts = read(tmp_path / "log.jsonl", rows)
    assert len(rollouts) == 3
    assert rollouts.answered is None
    said, = (choice for choice in rollouts.reading.choices if name in choice)
    assert said.startswith(f"not read: {name!r}, which may not be answered, the position at which the answer is there")
    assert f"columns={{'answered': {name!r}}} insists on it" in said


def test_a_column_is_set_aside_for_all_files_by_one_late_row(tmp_path: Path) -> None:
    good = [{"prompt": "a", "length": 4, "reward": 1.0, "think_end": 2}] * 40
    write(tmp_path / "1.jsonl", good)
    write(tmp_path / "2.jsonl", [*good, good[0] | {"think_end": 0}])
    rollouts = ls.Rollouts.read(tmp_path)
    assert (len(rollouts), rollouts.answered) == (81, None)


@pytest.mark.parametrize("name", ["log.jsonl", "log.csv", "log.parquet"])
def test_names_of_paths_are_text_across_chunks_and_files(tmp_path: Path, name: str) -> None:
    for number, mode in enumerate(("a", "longer"), start=1):
        write(tmp_path / f"{number}{name}", [{"prompt": "p", "length": 4, "reward": 1.0, "mode": mode}] * 3)
    rollouts = ls.Rollouts.read(tmp_path)
    assert rollouts.path_names.tolist() == ["a"] * 3 + ["longer"] * 3
    assert not rollouts.path_names.flags.writeable
