"""The command line: what it prints is what the library says, and bad input is one line on stderr."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

import lossim as ls
from command_line import CONFIG, QUICK, overlong, plain, refused, rows, run, strict, written
from lossim import schemes
from lossim.configs import read_config

DATA = Path(__file__).parents[1] / "data"
EVERY = list(schemes.presets())
ALL = [name for name in EVERY if name != "remax"]


# --- audit --------------------------------------------------------------------------------------------------------


def test_audit_prints_the_library_and_nothing_else(capsys: pytest.CaptureFixture[str], log: str) -> None:
    out, err = run(capsys, "audit", log, "--scheme", "grpo", *QUICK)
    found = ls.audit(ls.Rollouts.read([log]), schemes.grpo(), replicates=20)
    assert out == f"{found}\n"
    assert out.splitlines()[0] == found.verdict
    assert err == ""


def test_audit_as_json(capsys: pytest.CaptureFixture[str], log: str) -> None:
    out, err = run(capsys, "audit", log, "--scheme", "grpo", "--json", *QUICK)
    rollouts = ls.Rollouts.read([log])
    found = ls.audit(rollouts, schemes.grpo(), replicates=20)
    assert rollouts.reading is not None
    assert strict(out) == {"verdict": found.verdict, "audit": plain(found.to_dict()), "config": None, "notes": [],
                           "reading": plain(rollouts.reading.to_dict())}
    assert err == ""


def test_without_a_scheme_all_presets_are_compared(capsys: pytest.CaptureFixture[str], log: str) -> None:
    said = strict(run(capsys, "audit", log, "--json", *QUICK)[0])
    assert [each["scheme"] for each in said["audit"]["findings"]] == ALL
    assert said["notes"] == ["remax is left out: it needs greedy_reward, which a log does not hold"]
    assert said["verdict"].startswith("responses get shorter under ")
    out, _ = run(capsys, "audit", log, "--compare", "all", *QUICK)
    assert out.splitlines()[0] == said["verdict"]
    assert out.count(" in a step of 0.01 nats") == 1
    assert all(re.search(rf"^  {name} ", out, re.M) for name in ALL)
    assert out.count(f"  note: {said['notes'][0]}\n") == 1


def test_compare_sets_presets_beside_the_scheme_once(capsys: pytest.CaptureFixture[str], log: str) -> None:
    out, _ = run(capsys, "audit", log, "--scheme", "dapo", "--compare", "grpo, dapo,grpo", "--json", *QUICK)
    said = strict(out)
    found = ls.audit(ls.Rollouts.read([log]), [schemes.dapo(), schemes.grpo()], replicates=20)
    assert said["audit"] == plain(found.to_dict())
    assert said["verdict"] == found.verdict
    everything = strict(run(capsys, "audit", log, "--scheme", "opo", "--compare", "all", "--json", *QUICK)[0])
    assert [each["scheme"] for each in everything["audit"]["findings"]] == ["opo", *(x for x in ALL if x != "opo")]
    alone = strict(run(capsys, "audit", log, "--compare", "opo", "--json", *QUICK)[0])
    assert alone["verdict"] == alone["audit"]["verdict"]


@pytest.mark.parametrize(("options", "keywords"), [
    (["--paths", "one"], {"paths": "one"}),
    (["--paths", "states"], {"paths": "states"}),
    (["--paths", "states", "--needed", "0.7,0.2"], {"paths": "states", "needed": (0.2, 0.7)}),
    (["--paths", "states", "--needed", "1"], {"paths": "states", "needed": 1.0}),
    (["--reward", "1,-1"], {"reward": ls.Reward(correct=1.0, incorrect=-1.0)}),
    (["--reward", "2,0.5,-3"], {"reward": ls.Reward(correct=2.0, incorrect=0.5, truncated=-3.0)}),
    (["--reward", "logged"], {}),
    (["--correct-above", "0.25"], {"correct_above": 0.25}),
])
def test_options_of_audit(capsys: pytest.CaptureFixture[str], log: str, options: list[str],
                          keywords: dict[str, Any]) -> None:
    out, _ = run(capsys, "audit", log, "--scheme", "ppo", "--json", *QUICK, *options)
    found = ls.audit(ls.Rollouts.read([log]), schemes.ppo(), replicates=20, **keywords)
    said = strict(out)["audit"]
    for finding in said["findings"]:  # the reward of the scheme itself is not read
        finding["drift"]["provenance"].pop("scheme", None)
    expected = plain(found.to_dict())
    for finding in expected["findings"]:
        finding["drift"]["provenance"].pop("scheme", None)
    assert said == expected


def test_several_logs_and_folders_are_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "dumps"
    folder.mkdir()
    files = [written(folder / f"{i}.jsonl", rows()[48 * i:48 * (i + 1)]) for i in range(2)]
    said = [strict(run(capsys, "audit", *logs, "--scheme", "grpo", "--json", *QUICK)[0])
            for logs in (files, [str(folder)])]
    assert said[0] == said[1]
    assert said[0]["audit"]["log"]["responses"] == 96


# --- reading ------------------------------------------------------------------------------------------------------


def test_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    odd = [{"q": row["prompt"], "size": row["length"], "a": row["reward"], "b": 0.25, "truncated": row["truncated"],
            "step": 3} for row in rows()]
    path = written(tmp_path / "odd.jsonl", odd)
    out, _ = run(capsys, "audit", path, "--scheme", "grpo", "--json", *QUICK, "--column", "prompt=q", "--column",
                 "length=size", "--column", "reward=a", "--column", "reward=-2e0*b", "--column", "step=")
    columns = {"prompt": "q", "length": "size", "reward": {"a": 1.0, "b": -2.0}, "step": None}
    rollouts = ls.Rollouts.read(path, columns=columns)
    said = strict(out)
    assert rollouts.reading is not None
    assert said["reading"] == plain(rollouts.reading.to_dict())
    assert said["audit"] == plain(ls.audit(rollouts, schemes.grpo(), replicates=20).to_dict())
    assert said["audit"]["log"]["mean_reward"] == pytest.approx(np.mean([row["reward"] for row in rows()]) - 0.5)


def test_tokenizer_from_the_current_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [{"prompt": row["prompt"], "completion": "x " * (row["length"] - 1), "reward": row["reward"]}
             for row in rows()]
    path = written(tmp_path / "text.jsonl", texts)
    (tmp_path / "words_of_mine.py").write_text("class By:\n    @staticmethod\n    def space(text):\n"
                                               "        return len(text.split())\n\nnumber = 3\n")
    (tmp_path / "broken_of_mine.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    said = strict(run(capsys, "audit", path, "--tokenizer", "words_of_mine:By.space", "--scheme", "grpo", "--json",
                      *QUICK)[0])
    assert said["audit"]["log"]["mean_length"] == pytest.approx(np.mean([row["length"] for row in rows()]))
    for name, message in (("words_of_mine:numbr", "'number'"), ("words_of_mine:number", "not int"),
                          ("words_of_mine", "Hugging Face cache"), ("no_such_module_of_mine:f", "ModuleNotFoundError"),
                          ("broken_of_mine:f", "ZeroDivisionError"), (":f", "MODULE:NAME")):
        assert message in refused(capsys, "audit", path, "--tokenizer", name)


def test_tokenizers_by_file_by_name_and_none(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [{"prompt": row["prompt"], "completion": "x " * (row["length"] - 1), "reward": row["reward"]}
             for row in rows()]
    path = written(tmp_path / "text.jsonl", texts)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"x": 0}, unk_token="x"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "held_in_a_module.py").write_text("import tokenizers\n"
                                                  "held = tokenizers.Tokenizer.from_file('tokenizer.json')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    asked = ("audit", path, "--scheme", "grpo", "--json", *QUICK)
    for tokenizer in ("tokenizer.json", ".", "held_in_a_module:held"):
        found = strict(run(capsys, *asked, "--tokenizer", tokenizer)[0])["audit"]
        assert found["log"]["mean_length"] == pytest.approx(np.mean([row["length"] for row in rows()]))
    found = strict(run(capsys, *asked)[0])["audit"]
    assert found["verdict"].endswith("; lengths are estimated from characters")
    assert refused(capsys, *asked, "--tokenizer", "no/model").startswith(
        "lossim: --tokenizer is neither a file, nor a folder, nor in the Hugging Face cache")


def test_estimates_are_held_to_the_cap_of_the_config(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    texts = [{"prompt": row["prompt"], "completion": "x" * 4 * row["length"], "reward": row["reward"]}
             for row in rows()]
    path = written(tmp_path / "text.jsonl", texts)
    config = "max_completion_length: 100\nloss_type: dr_grpo\n"
    (tmp_path / "config.yaml").write_text(config)
    found = strict(run(capsys, "audit", path, "--config", str(tmp_path / "config.yaml"), "--trainer", "trl", "--json",
                       *QUICK)[0])["audit"]
    assert found["log"]["max_tokens"] == 100
    assert found["log"]["truncation_rate"] is None


def test_format_for_any_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = written(tmp_path / "run.log", rows())
    assert "give --format" in refused(capsys, "audit", path)
    run(capsys, "audit", path, "--format", "jsonl", "--scheme", "grpo", *QUICK)
    assert "not JSON" not in refused(capsys, "audit", path, "--format", "csv", "--scheme", "grpo")


def test_bad_rows_stop_or_are_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = written(tmp_path / "bad.jsonl", [*rows(), {"prompt": 1, "length": 0, "reward": 1.0, "truncated": False}])
    assert "pass --on-error report" in refused(capsys, "audit", path, "--scheme", "grpo")
    out, _ = run(capsys, "audit", path, "--scheme", "grpo", "--on-error", "report", *QUICK)
    assert "  left out  1  length must be at least 1\n" in out
    assert out.count("bad.jsonl:97") == 1


@pytest.mark.parametrize("given", [
    [{"prompt": 0, "length": 5, "reward": 1.0}],
    [{"prompt": 0, "length": 5, "reward": 1.0, "correct": True}],
    [{"prompt": i // 2, "length": 3 + i, "reward": 0.5} for i in range(6)],
    [{"prompt": i // 2, "length": 1, "reward": float(i % 2), "truncated": i > 2} for i in range(6)],
    [{"prompt": i // 2, "length": 1, "reward": float(i % 2)} for i in range(6)],
], ids=["one response", "one graded", "equal rewards", "max_tokens 1", "length 1"])
@pytest.mark.parametrize("options", [[], ["--scheme", "ppo"], ["--scheme", "grpo", "--json"]])
def test_small_logs_have_an_answer(capsys: pytest.CaptureFixture[str], tmp_path: Path, given: list[dict[str, Any]],
                                   options: list[str]) -> None:
    out, err = run(capsys, "audit", written(tmp_path / "small.jsonl", given), *options)
    assert err == ""
    if "--json" in options:
        strict(out)


def test_equal_rewards_without_grades_share_a_path(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    equal = written(tmp_path / "equal.jsonl", [{"prompt": i // 2, "length": 3 + i, "reward": 0.5} for i in range(6)])
    said = strict(run(capsys, "audit", equal, "--scheme", "ppo", "--json")[0])
    assert (said["audit"]["paths"], len(said["notes"])) == ("one", 1)
    assert strict(run(capsys, "audit", equal, "--scheme", "ppo", "--json", "--paths", "one")[0])["notes"] == []
    assert "--paths one" in refused(capsys, "audit", equal, "--scheme", "ppo", "--paths", "outcome")
    above = strict(run(capsys, "audit", equal, "--scheme", "ppo", "--json", "--correct-above", "0")[0])
    assert above["audit"]["log"]["accuracy"] == 1.0


def test_grades_above_a_reward_are_for_logs_without(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    graded = written(tmp_path / "graded.jsonl", [{**row, "correct": row["reward"] > 0} for row in rows()])
    for words in (["audit"], ["drift", "--scheme", "grpo", "--log"]):
        message = refused(capsys, *words, graded, "--correct-above", "0.5")
        assert message.startswith("lossim: --correct-above is for a log without grades")


# --- configs ------------------------------------------------------------------------------------------------------


def test_config_is_read_and_shown_once(capsys: pytest.CaptureFixture[str], log: str, config: str) -> None:
    options = ["audit", log, "--config", config, "--trainer", "trl", *QUICK]
    parsed = read_config(CONFIG, trainer="trl")
    said = strict(run(capsys, *options, "--json")[0])
    assert said["config"] == plain(parsed.to_dict())
    assert said["audit"] == plain(ls.audit(ls.Rollouts.read([log]), parsed.scheme, replicates=20).to_dict())
    for words in (options, [*options, "--compare", "grpo"]):
        out, _ = run(capsys, *words)
        assert [len(re.findall(rf"^{title}:", out, re.M)) for title in ("read", "assumed", "ignored")] == [1, 1, 1]
        assert out.count("learning_rate") == out.count(f"from trl {parsed.version}") == 1
        assert out.count("  scheme  GroupStandardized") == out.count("ConstantNormalizer") == 1


def test_config_as_overrides(capsys: pytest.CaptureFixture[str], log: str) -> None:
    words = "algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=8"
    said = strict(run(capsys, "audit", log, "--config", words, "--trainer", "verl", "--json", *QUICK)[0])
    assert said["config"] == plain(read_config(words, trainer="verl").to_dict())


def test_a_script_with_no_option(capsys: pytest.CaptureFixture[str], log: str, tmp_path: Path) -> None:
    """Whose it is is found; what is not settled is said with the options that settle it, and these do."""
    path = tmp_path / "run.sh"
    path.write_text("G=8\npython3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=$G "
                    'actor_rollout_ref.actor.foo=3 "$@" 2>&1 | tee log\n', encoding="utf-8")
    options = ["audit", log, "--config", str(path), *QUICK]
    out = run(capsys, *options)[0]
    assert "to settle it: --trainer verl==0.9.1" in out
    settle = next(line for line in out.splitlines() if line.startswith("settled as it was read by: "))
    told = settle.partition(": ")[2].split()
    assert told == ["--trainer", "verl==0.9.1", "--ignore", "actor_rollout_ref.actor.foo"]
    again = run(capsys, *options, *told)[0]
    assert "not settled" not in again
    assert "settled as it was read by" not in again
    said = strict(run(capsys, *options, "--json")[0])["config"]
    assert said == plain(read_config(path).to_dict())
    assert said["settle"] == "version='0.9.1', ignore=['actor_rollout_ref.actor.foo']"


@pytest.mark.parametrize(("options", "keywords"), [
    (["--processes", "4"], {"processes": 4}), (["--algorithm", "grpo"], {"algorithm": "grpo"}),
    (["--reward", "1,-1"], {"reward": ls.Reward(correct=1.0, incorrect=-1.0)}),
])
def test_options_of_configs(capsys: pytest.CaptureFixture[str], log: str, config: str, options: list[str],
                            keywords: dict[str, Any]) -> None:
    out, _ = run(capsys, "audit", log, "--config", config, "--trainer", "trl", "--json", *QUICK, *options)
    assert strict(out)["config"] == plain(read_config(CONFIG, trainer="trl", **keywords).to_dict())


def test_settings_of_ones_own_and_without_a_slot(capsys: pytest.CaptureFixture[str], log: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**CONFIG, "mine": 1, "top_entropy_quantile": 0.2}), encoding="utf-8")
    options = ["audit", log, "--config", str(path), "--trainer", "trl", "--json", *QUICK]
    assert "top_entropy_quantile asks for" in refused(capsys, *options, "--strict")
    said = strict(run(capsys, *options)[0])
    assert [entry["key"] for entry in said["config"]["unsupported"]] == ["top_entropy_quantile"]
    assert {entry["key"] for entry in said["config"]["ignored"]} == {"mine"} - set(CONFIG) | {
        entry.key for entry in read_config(CONFIG, trainer="trl").ignored}
    settled = run(capsys, *[word for word in options if word != "--json"])[0]
    assert "--ignore top_entropy_quantile" in settled
    assert "--processes 1" in settled
    top = run(capsys, *options, "--set", "top_entropy_quantile=1.0", "--trainer", "trl==1.16")[0]
    assert strict(top)["config"]["unsupported"] == []


def test_dumps_of_trl_and_their_config(capsys: pytest.CaptureFixture[str]) -> None:
    """What the config knows of the log is used, or said: the cap of text alone, the weights of rewards."""
    def read(name: str, *more: str) -> Any:
        words = ["--config", str(DATA / f"{name}_config.yaml"), "--trainer", "trl", "--tokenizer", "builtins:len"]
        options = [*words, "--paths", "one", "--json", *QUICK, *more]
        return strict(run(capsys, "audit", str(DATA / f"{name}_completions"), *options)[0])

    text, graded = read("trl"), read("trl_chat")
    assert [said["audit"]["log"]["max_tokens"] for said in (text, graded)] == [16, 16]
    assert text["notes"] == ["max_tokens is that of the config, 16"]
    assert [note.partition(",")[0] for note in graded["notes"]] == ["the config weighs rewards by [1.0"]
    weighed = read("trl_chat", "--column", "reward=digits", "--column", "reward=0.5*closed_or_none")
    assert weighed["notes"] == []
    assert weighed["audit"]["log"]["mean_reward"] < graded["audit"]["log"]["mean_reward"]


def test_dumps_of_verl_and_their_config(capsys: pytest.CaptureFixture[str]) -> None:
    said = strict(run(capsys, "audit", str(DATA / "verl_rollouts"), "--config", str(DATA / "verl_config.yaml"),
                      "--trainer", "verl", "--tokenizer", "builtins:len", "--correct-above", "0", "--json", *QUICK)[0])
    log = said["audit"]["log"]
    assert (log["steps"], log["max_tokens"], said["config"]["max_tokens"]) == (3, 16, 16)
    assert said["audit"]["findings"][0]["scheme"] == "verl grpo (vanilla, token-mean)"


def test_reward_of_a_config_keeps_its_penalties(capsys: pytest.CaptureFixture[str], log: str) -> None:
    words = overlong(max_tokens=256, buffer=64)
    paid = read_config(words, trainer="verl", reward=ls.Reward(incorrect=-1.0)).scheme.reward
    assert paid.shaping is not None
    out, _ = run(capsys, "audit", log, "--config", words, "--trainer", "verl", "--reward", "1,-1", "--json", *QUICK)
    scheme = read_config(words, trainer="verl", reward=ls.Reward(incorrect=-1.0)).scheme
    found = ls.audit(ls.Rollouts.read([log]), scheme, reward=paid, replicates=20)
    assert strict(out)["audit"]["findings"][0]["drift"]["length"] == plain(found.findings[0].length.to_dict())


def test_cap_of_the_config_where_the_log_does_not_say(capsys: pytest.CaptureFixture[str], log: str, uncut: str,
                                                      config: str, tmp_path: Path) -> None:
    options = ["--config", config, "--trainer", "trl", "--json", *QUICK]
    scheme = read_config(CONFIG, trainer="trl").scheme
    said = strict(run(capsys, "audit", uncut, *options)[0])
    assert said["audit"] == plain(ls.audit(ls.Rollouts.read([uncut]), scheme, max_tokens=256, replicates=20).to_dict())
    assert said["audit"]["log"]["truncation_rate"] > 0
    assert said["notes"] == ["max_tokens is that of the config, 256"]
    assert strict(run(capsys, "audit", log, *options)[0])["notes"] == []
    given = strict(run(capsys, "audit", uncut, *options, "--max-tokens", "300")[0])
    assert (given["audit"]["log"]["max_tokens"], given["notes"]) == (300, [])
    short = tmp_path / "short.json"
    short.write_text(json.dumps({**CONFIG, "max_completion_length": 100}), encoding="utf-8")
    message = refused(capsys, "audit", uncut, "--config", str(short), "--trainer", "trl")
    assert message.startswith("lossim: the config cuts responses at 100 tokens, and the log has one of 256; give --max")
    fitted = strict(run(capsys, "drift", "--log", uncut, *options)[0])
    assert fitted["fit"]["max_tokens"] == 256


# --- presets ------------------------------------------------------------------------------------------------------


def test_presets_are_all_there_are() -> None:
    made = schemes.presets()
    assert set(made) == set(schemes.__all__) - {"Scheme", "Truncation", "Unsettled", "compare", "presets", "short"}
    assert all(preset is getattr(schemes, name) for name, preset in made.items())


def test_presets_are_listed_with_their_slots(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "presets")
    assert err == ""
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == EVERY
    assert max(map(len, out.splitlines())) <= 110
    blocks = re.split(r"^(?=\S)", out, flags=re.M)[1:]
    for name, block in zip(EVERY, blocks, strict=True):
        scheme = getattr(schemes, name)(**({"greedy_reward": 0.5} if name == "remax" else {}))
        assert all(slot in block for slot in scheme.slots)
    said = strict(run(capsys, "presets", "--json")[0])
    assert list(said) == EVERY
    assert said["grpo"]["slots"]["advantage"] == repr(schemes.grpo().advantage)
    assert {name: preset["needs"] for name, preset in said.items() if preset["needs"]} == {"remax": ["greedy_reward"]}
    assert said["grpo"]["needs"] == []


def four_each(respond: Callable[[int], tuple[int, float]]) -> list[dict[str, Any]]:
    """Twelve prompts with four responses each, of lengths and rewards that depend on the row."""
    return [{"prompt": i // 4, "length": respond(i)[0], "reward": respond(i)[1], "truncated": False}
            for i in range(48)]


RIGHT_IS_LONG = four_each(lambda i: (20 + i % 5, 1.0) if i % 2 else (8 + i % 3, 0.0))
SOLVED_IS_LONG = four_each(lambda i: (14 + i % 3, 1.0) if i // 4 % 2 else (5 + i % 3, 0.0))
SOLVED_IS_SHORT = four_each(lambda i: (5 + i % 3, 1.0) if i // 4 % 2 else (14 + i % 3, 0.0))
NOISE = four_each(lambda i: ((i * i) % 7 + 1, float(i % 3 == 0)))
EQUAL = four_each(lambda i: (5 + i % 7, 1.0))
RARE = [{"prompt": i // 2, "length": length, "reward": float(i == 1), "truncated": False}
        for i, length in enumerate([4, 5, 7, 8, 1, 2, 7, 8, 2, 3, 7, 4])]


@pytest.mark.parametrize(("given", "presets", "sentence"), [
    (RIGHT_IS_LONG, "grpo,ppo", "responses get longer under all 2 presets: from {ppo} to {grpo} tokens"),
    (SOLVED_IS_LONG, "vapo,ppo", "responses get longer under 1 of 2 presets, undecided by what the log does not tell "
     "under 1: from {vapo} to {ppo} tokens"),
    (SOLVED_IS_SHORT, "ppo,vapo,grpo", "responses get shorter under 1 of 3 presets, undecided by what the log does not "
     "tell under 1, unknown under 1 (all groups of the log are dead): from {ppo} to {vapo} tokens"),
    (NOISE, "grpo,dr_grpo", "undecided by what the log does not tell under all 2 presets: from {grpo} to {dr_grpo} "
     "tokens"),
    (SOLVED_IS_SHORT, "ppo,grpo", "responses get shorter under 1 of 2 presets, unknown under 1 (all groups of the log "
     "are dead): {ppo} tokens"),
    (EQUAL, "grpo,dapo", "all groups of the log are dead: none of the 2 presets can be told from it"),
    (RARE, "grpo,dr_grpo", "no drift of mean length beyond the noise of this log under all 2 presets"),
])
def test_comparison_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path, given: list[dict[str, Any]],
                                  presets: str, sentence: str) -> None:
    """Tokens in a step of 0.01 nats, from the least to the most; where no step has a size, none are named."""
    path = written(tmp_path / "run.jsonl", given)
    critic = ["--critic", "zero"] if "ppo" in presets else []  # or what one says would decide
    said = strict(run(capsys, "audit", path, "--compare", presets, *critic, "--json", *QUICK)[0])
    steps = {each["scheme"]: each["drift"]["length_per_kl"]["value"] for each in said["audit"]["findings"]}
    named = {name: f"{step:+.3g} ({name})" for name, step in steps.items() if step is not None}
    assert said["verdict"] == sentence.format_map(named) + " in a step of 0.01 nats" * sentence.endswith("tokens")


def test_a_comparison_names_no_unknown_that_does_not_decide(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every fifth response is cut, and had its answer: that decides, and not the needed share."""
    work = ls.Work(answer=ls.lengths.geometric(mean=10), done=ls.lengths.geometric(mean=60))
    path = ls.Path("thinks", length=ls.lengths.geometric(mean=30), p_correct=0.0, work=work)
    log = ls.Policy([ls.PromptClass("all", paths=[path])], max_tokens=100).sample(
        np.random.default_rng(0), prompts=60, group_size=8)
    file = tmp_path / "run.jsonl"
    file.write_text("".join(json.dumps({"prompt": int(p), "length": int(n), "reward": float(r), "truncated": bool(cut)})
                            + "\n" for p, n, r, cut in zip(log.prompt_ids, log.lengths, log.rewards, log.truncated,
                                                           strict=True)))
    asked = ["audit", str(file), "--paths", "states", "--compare", "dapo,dr_grpo", "--json"]
    said = strict(run(capsys, *asked, *QUICK)[0])
    assert all("whether truncated responses had their answer decides" in each["verdict"]
               for each in said["audit"]["findings"])
    assert said["verdict"].startswith("undecided by what the log does not tell under all 2 presets")


def test_columns_of_answers_and_paths_are_found(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    work = ls.Work(answer=ls.lengths.geometric(mean=6), done=ls.lengths.geometric(mean=4))
    paths = [ls.Path(name, probability=0.5, length=ls.lengths.geometric(mean=mean), p_correct=0.0, work=work)
             for name, mean in (("long", 12), ("short", 6))]
    log = ls.Policy([ls.PromptClass("all", paths=paths)], max_tokens=32).sample(
        np.random.default_rng(0), prompts=30, group_size=4)
    rows = [{"prompt": int(p), "length": int(n), "reward": float(r), "truncated": bool(cut), "mode": str(mode)}
            | ({} if np.isnan(at) else {"think_end": int(at)})
            for p, n, r, cut, mode, at in zip(log.prompt_ids, log.lengths, log.rewards, log.truncated, log.path_names,
                                              log.answered, strict=True)]
    file = tmp_path / "run.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for paths_, more in (("states", ["column 'think_end'"]), ("column", ["column 'mode'", "share, accuracy by path"])):
        out, _ = run(capsys, "audit", str(file), "--scheme", "grpo", "--paths", paths_, *QUICK)
        found = ls.audit(ls.Rollouts.read(file), schemes.grpo(), paths=paths_, replicates=20)
        assert found.verdict in out
        assert all(each in out for each in more)
    _, _ = run(capsys, "drift", "--log", str(file), "--scheme", "grpo", "--paths", "states", "--needed", "0.5", *QUICK)
    assert "must be one share" in refused(capsys, "drift", "--log", str(file), "--scheme", "grpo", "--paths", "states",
                                          "--needed", "0.5,0.9", *QUICK)


@pytest.mark.parametrize("command", ["audit", "what-if", "stops"])
def test_without_error_bars_there_is_none(capsys: pytest.CaptureFixture[str], log: str, command: str) -> None:
    words = [command, log, "--scheme", "grpo"]
    out, _ = run(capsys, *words, *(["--replicates", "0"] if command != "stops" else []))
    assert "nan" not in out
