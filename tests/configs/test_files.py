"""Where configs come from, how results print, and that nothing but clear errors comes of anything."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
from config_keys import OPENRLHF_KEYS, TRL_KEYS, VARIANT_KEYS, VERL_KEYS
from lossim.configs import TRAINERS as READERS
from lossim.configs import Entry, read_config

TRAINERS: Any = tuple(READERS)
KNOWN = {"trl": {**TRL_KEYS["rloo"], **TRL_KEYS["grpo"]}, "verl": VERL_KEYS, "openrlhf": OPENRLHF_KEYS,
         **VARIANT_KEYS}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


YAML = """
# a run of its own
loss_type: &how grpo
beta: 1e-6   # YAML 1.1 takes this for text
epsilon_high: 2.8e-1
model_init_kwargs: {dtype: bfloat16}
learning_rate: 1.0e-6
num_generations: 4
run_name: *how
"""


def test_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "run.yaml", YAML)
    scheme = read_config(path, trainer="trl").scheme
    assert scheme == read_config(str(path), trainer="trl").scheme
    assert scheme.kl_in_loss is not None
    assert (scheme.kl_in_loss.coefficient, scheme.group_size, scheme.surrogate) == (
        1e-6, 4, ls.surrogates.PPOClip(high=0.28))


def test_json(tmp_path: Path) -> None:
    config = {"algorithm": {"adv_estimator": "grpo"}, "actor_rollout_ref.rollout.n": 4}
    path = write(tmp_path, "run.JSON", "\ufeff" + json.dumps(config))
    assert read_config(path, trainer="verl").scheme == read_config(config, trainer="verl").scheme


def test_names_that_look_like_overrides(tmp_path: Path) -> None:
    (tmp_path / "lr=1--x").mkdir()
    path = write(tmp_path / "lr=1--x", "run.json", "{}")
    for trainer in TRAINERS:
        assert read_config(str(path), trainer=trainer).read == ()


def test_merged_yaml(tmp_path: Path) -> None:
    path = write(tmp_path, "run.yml", "base: &base {n: 4, top_p: 0.9}\nrollout:\n  <<: *base\n  n: 8\n")
    parsed = read_config(path, trainer="verl", ignore=["base.n", "base.top_p", "rollout.n", "rollout.top_p"])
    assert sorted(entry[:2] for entry in parsed.ignored) == [
        ("base.n", 4), ("base.top_p", 0.9), ("rollout.n", 8), ("rollout.top_p", 0.9)]


@pytest.mark.parametrize(("name", "text", "match"), [
    ("a.yaml", "", "holds a mapping, and this one is empty"),
    ("a.json", " \n", "holds a mapping, and this one is empty"),
    ("a.yaml", "# nothing\n", "holds a mapping, and this one is empty"),
    ("a.json", "[3]", "holds a mapping, and this one holds a list"),
    ("a.json", "3", "holds a mapping, and this one holds a int"),
    ("a.yaml", "beta: 0.1\nloss_type: grpo\nbeta: 0.2\n", "beta must be given once .* line 3"),
    ("a.yaml", "a:\n  n: 1\n  n: 2\n", "n must be given once"),
    ("a.json", '{"beta": 1, "beta": 2}', "beta must be given once"),
    ("a.yaml", "a:\n\tb: 1\n", "must be YAML, indented by spaces"),
    ("a.yaml", "a: !!python/object:os.system {}\n", "must be YAML"),
    ("a.json", "{beta: 1}", "must be JSON"),
    ("a.toml", "beta = ", "must be TOML"),
    ("a.yaml", "a: &a {b: *a}\n", "nested no deeper than 60 levels"),
    ("a.json", '{"a":' * 5000 + "1" + "}" * 5000, "nested no deeper than 60 levels"),
])
def test_files_refused(tmp_path: Path, name: str, text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read_config(write(tmp_path, name, text), trainer="verl")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must name a file that exists"):
        read_config(tmp_path / "no.yaml", trainer="trl")
    with pytest.raises(ValueError, match="must name a text file in UTF-8"):
        read_config(tmp_path.rename(tmp_path.with_suffix(".yaml")), trainer="trl")
    assert read_config(write(tmp_path.with_suffix(".yaml"), "a.yaml", "on: 1"), trainer="trl").ignored[0].key == "on"


def test_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"beta: \xff")
    with pytest.raises(ValueError, match="must name a text file in UTF-8"):
        read_config(path, trainer="trl")


def test_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ImportError, match=r"needs pyyaml: pip install 'lossim\[configs\]'"):
        read_config(write(tmp_path, "a.yaml", "beta: 1"), trainer="trl")
    assert read_config(write(tmp_path, "a.json", '{"beta": 1}'), trainer="trl").scheme.kl_in_loss is not None


@pytest.mark.parametrize(("arguments", "error", "match"), [
    ({"source": {}, "trainer": "tlr"}, ValueError, "trainer must be one of .*did you mean 'trl'"),
    ({"source": {}, "trainer": "trl", "strict": "no"}, TypeError, "strict must be True or False"),
    ({"source": {}}, ValueError, "must hold settings of trl, verl, openrlhf, "),
    ({"source": {}, "trainer": "trl==0.13"}, ValueError, "version must be 0.14 or newer, of TRL GRPOConfig"),
    ({"source": {}, "trainer": "trl==0.18", "version": "0.19"}, ValueError, "version must not be given beside"),
    ({"source": {}, "trainer": "trl", "version": "new"}, ValueError, "version must be a version"),
    ({"source": {}, "trainer": "verl", "algorithm": "grpo"}, ValueError, "algorithm must be left out"),
    ({"source": {}, "trainer": "trl", "algorithm": "ppo"}, ValueError, "algorithm must be one of 'grpo', 'rloo'"),
    ({"source": {}, "trainer": "trl", "processes": 0}, ValueError, "processes must be at least 1"),
    ({"source": {}, "trainer": "verl", "processes": 8}, ValueError, "processes has no effect on this config"),
    ({"source": {}, "trainer": "trl", "reward": 1.0}, TypeError, "reward must be a Reward"),
    ({"source": {}, "trainer": "verl", "critic": 0.0}, TypeError, "critic must be a Critic"),
    ({"source": {}, "trainer": "trl", "ignore": "beta"}, TypeError, "ignore must be a sequence of keys"),
    ({"source": {"beta": 1}, "trainer": "trl", "ignore": ["bet"]}, ValueError, "ignore must hold .*'beta'"),
    ({"source": None, "trainer": "trl"}, TypeError, "source must be the path of"),
    ({"source": b"a=1", "trainer": "verl"}, TypeError, "source must be the path of"),
    ({"source": [3], "trainer": "verl"}, TypeError, r"source\[0\] must be a string"),
    ({"source": {3: 1}, "trainer": "trl"}, TypeError, "a key must be text"),
])
def test_arguments(arguments: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        read_config(**arguments)


def test_ignore() -> None:
    """Settings of one's own are passed over, known ones too, and are listed."""
    parsed = read_config({"system_prompt": "x", "beta": 0.1}, trainer="trl", ignore=("system_prompt", "beta"))
    assert parsed.scheme.kl_in_loss is None
    assert parsed.ignored == (Entry("system_prompt", "x", "passed over as told by ignore="),
                              Entry("beta", 0.1, "passed over as told by ignore="))


def test_print() -> None:
    parsed = read_config({"loss_type": "grpo", "top_p": 0.9, "run_name": "r" * 99, "top_entropy_quantile": 0.2,
                          "kl_x": 1}, trainer="trl==1.16", processes=1)
    said = parsed.sections()
    assert said["scheme"] == [str(parsed.scheme)]
    assert said["source"] == ["from trl 1.16, GRPOConfig, at most 512 tokens",
                              "  trl: told from loss_type, top_entropy_quantile"]
    assert [line for line in str(parsed).splitlines() if not line.startswith("  ")][3:] == [
        "optimizer: adamw_torch, learning rate 1e-06, linear, betas 0.9 and 0.999, gradient cut at 1", "unsupported:",
        "unknown:", "approximated:", "read:", "assumed:", "ignored: run_name",
        "settled as it was read by: ignore=['kl_x', 'top_entropy_quantile']"]
    assert repr(parsed) == str(parsed)
    assert parsed.notes[0].startswith("left out: top_entropy_quantile = 0.2: ")
    assert parsed.notes[1].startswith("not known: kl_x = 1: ")
    assert parsed.notes[2].startswith("approximated: top_p = 0.9: ")
    assert parsed.notes[3].startswith("assumed: ")


def test_to_dict() -> None:
    config = {"beta": 0.1, "model_init_kwargs": {"x": {"y": 1}}, "lr_scheduler_kwargs": {"a": (1, float("nan"))},
              "reward_weights": [1.0]}
    parsed = read_config(config, trainer="trl", reward=ls.Reward(incorrect=-1.0))
    plain = json.loads(json.dumps(parsed.to_dict(), allow_nan=False))
    assert {"key": "beta", "value": 0.1, "why": ""} in plain["read"]
    assert {"key": "lr_scheduler_kwargs", "value": {"a": [1, "nan"]},
            "why": "not a setting that lossim reads"} in plain["ignored"]
    assert (plain["trainer"], plain["version"], plain["max_tokens"]) == ("trl", "1.16.0", 512)
    assert plain["scheme"]["aggregation"] == repr(parsed.scheme.aggregation)
    assert plain["approximated"][0]["key"] == "reward_weights"


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70), st.floats(), st.text(max_size=5),
    st.sampled_from(["1e-6", "nan", "${data.seed}", "???", [0.1, 0.3], (2,), {}, {"a": 1}, b"x", 2**70, object()]))
WORDS = sorted({word for table in KNOWN.values() for kind in table.values() for word in kind.words})


@pytest.mark.parametrize("trainer", TRAINERS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_anything(trainer: Any, data: st.DataObject) -> None:
    """A scheme with every key accounted for, or an error of the kinds that say what is wrong."""
    names = st.sampled_from(sorted(KNOWN[trainer]))
    value = st.one_of(VALUES, st.sampled_from(WORDS))
    config = data.draw(st.dictionaries(st.one_of(names, names, names, st.text(max_size=4)), value, max_size=6))
    check(config, trainer, data.draw(st.booleans()))


@pytest.mark.parametrize("trainer", TRAINERS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_anything_of_the_right_kind(trainer: Any, data: st.DataObject) -> None:
    """The same with values that each setting takes by itself, so that most of it is about how they go together."""
    def value(name: str) -> st.SearchStrategy[Any]:
        kind = KNOWN[trainer][name]
        return {"number": st.floats(0.0, 4.0), "whole": st.sampled_from([1, 2, 4, 8, 64, 256]), "flag": st.booleans(),
                "choice": st.sampled_from(kind.words or ("",)), "pair": st.just((0.1, 0.4)),
                "text": st.sampled_from(["dapo", "acc"]), "any": st.none()}[kind.of]

    names = data.draw(st.lists(st.sampled_from(sorted(KNOWN[trainer])), unique=True, max_size=8))
    check({name: data.draw(value(name)) for name in names}, trainer, False)


def check(config: dict[str, Any], trainer: Any, strict: bool) -> None:
    try:
        parsed = read_config(config, trainer=trainer, strict=strict)
    except (ValueError, TypeError) as problem:
        said = str(problem)
    else:
        said = ""
    if said:
        assert ", got " in said
        return
    keys = [entry.key for entry in (*parsed.read, *parsed.ignored, *parsed.unknown, *parsed.unread)]
    leaves = [key for key, value in config.items() if trainer == "trl" or not isinstance(value, dict) or not value]
    assert set(leaves) <= {*keys, *(key.removeprefix("--") for key in keys)}
    assert len(keys) == len(set(keys))
    assert json.dumps(parsed.to_dict(), allow_nan=False)
    assert str(parsed).splitlines()[:2] == [f"{parsed.scheme.name}: {parsed.verdict}",
                                            str(parsed.scheme).splitlines()[0]]
    assert replace(parsed.scheme) == parsed.scheme
    assert {entry.key for entry in parsed.unknown} <= {doubt.unknown for doubt in parsed.doubts}
