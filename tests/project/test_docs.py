"""The documents: their code runs, their links lead somewhere, their tables and numbers are those of the code."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import get_args, get_type_hints

import pytest

import lossim as ls
from log_files import ALIASES
from lossim import advantages, aggregation, penalties, references, schemes, surrogates, tokens

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")),
         *sorted((ROOT / "figures").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]\[]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchor(heading: str) -> str:
    """A heading as the part of an address behind #: lower case, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    return {anchor(line.lstrip("# ")) for line in text.splitlines() if re.match(r"#+ ", line)}


def broken(path: Path) -> list[str]:
    """The links of a page to files of this repository that lead nowhere."""
    found = []
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, part = target.partition("#")
        aim = (path.parent / file).resolve() if file else path
        if not aim.exists() or (part and part not in anchors(aim.read_text(encoding="utf-8"))):
            found.append(target)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"tests/[\w/]+\.py", path.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_broken_sees_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One two: three\n")
    bad = tmp_path / "a.md"
    bad.write_text("[x](b.md) [y](b.md#one-two-three) [z](https://example.org/no) [p](c.md) ![q](b.md#four) [r](#five)")
    assert broken(bad) == ["c.md", "b.md#four", "#five"]


def test_tour_code_without_prompts_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What writes files; `make doctests` runs the rest, which prints what it is said to print."""
    policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=5), max_tokens=16)
    monkeypatch.chdir(tmp_path)
    plain = [block for block in BLOCK.findall(page("docs/tour.md")) if ">>>" not in block]
    assert plain
    for block in plain:
        exec(compile(block, "docs/tour.md", "exec"), {"ls": ls, "drift": ls.drift(schemes.ppo(), policy)})
    assert (tmp_path / "drift.png").stat().st_size > 10_000


@pytest.mark.parametrize(("name", "least"), [("README.md", {"test", "figures", "check", "docs"}),
                                             ("CONTRIBUTING.md", {"test", "check", "docs", "peers", "release-check"})])
def test_commands_of_pages_are_targets(name: str, least: set[str]) -> None:
    wanted = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", page(name), re.MULTILINE))
    offered = set(re.findall(r"^([a-z-]+):.*##", page("Makefile"), re.MULTILINE))
    assert least <= wanted <= offered


@pytest.mark.parametrize("name", ["README.md", "docs/trust.md"])
def test_numbers_of_proofs_are_those_of_the_figures(name: str) -> None:
    text = " ".join(page(name).split())
    reality = json.loads(page("figures/output/reality.json"))
    assert reality["right_sign"]["measured kernel"] == reality["length_slopes_beyond_3"]
    assert f"all {reality['length_slopes_beyond_3']} significant length slopes" in text


def test_number_of_sampled_schemes_is_that_of_the_figure() -> None:
    grid = re.search(r"(\d+) schemes: eight", page("figures/README.md"))
    assert grid
    assert f"{grid[1]} schemes, exact against Monte Carlo" in page("docs/trust.md")


@pytest.fixture(scope="module")
def presets() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("make_presets")
    sys.path.remove(str(ROOT / "docs"))


def test_preset_page_is_current(presets: ModuleType) -> None:
    assert page("docs/presets.md") == presets.page(), "run python docs/make_presets.py"


def test_preset_tables_have_every_preset(presets: ModuleType) -> None:
    """Each in what it is made of, how it is computed and where it is found, in one line each."""
    assert set(presets.ENTRIES) == set(schemes.presets())
    lines = page("docs/presets.md").partition("## Slots")[0].splitlines()
    for name in presets.ENTRIES:
        assert presets.preset(name).name == name
        assert sum(line.startswith(f"| `{name}` |") for line in lines) == 3


def classes_in(value: object) -> set[type]:
    """Classes of lossim that a value is made of."""
    if isinstance(value, tuple):
        return set().union(*map(classes_in, value))
    if not is_dataclass(value):
        return set()
    return {type(value)}.union(*(classes_in(getattr(value, slot.name)) for slot in fields(value)))


def test_slot_tables_have_every_class(presets: ModuleType) -> None:
    """All that can fill a slot has a row of its own, or is within one as the λ of a GAE is."""
    bases = {advantages.Advantage, advantages.ResponseAdvantage, surrogates.Surrogate, aggregation.Aggregation}
    helpers = {advantages.Group, advantages.Traits, advantages.group_of, aggregation.balanced, aggregation.signs}
    public = {getattr(module, name) for module in (advantages, surrogates, penalties, aggregation)
              for name in module.__all__} - bases - helpers
    rows = [row for table in presets.ROWS.values() for row in table]
    assert public <= set().union(*(classes_in(value) for row in rows for value in row.of.values()))
    small = set(tokens.__all__) - {"Batch", "TokenLoss", "advantages", "loss"}
    assert {row.function for row in rows} - {""} == small
    names = {field.name: get_type_hints(ls.Scheme)[field.name] for field in fields(ls.Scheme)}
    for slot in ("truncation", "dynamic_sampling"):
        assert {row.of[slot] for row in rows if slot in row.of} == set(get_args(names[slot])) - {"keep", "none"}
    lines = page("docs/presets.md").partition("## Slots")[2].splitlines()
    for row in rows:
        assert sum(line.startswith(f"| {presets.label(row)} |") for line in lines) == 2


TRAINERS = {
    "verl's estimators": """gae grpo grpo_vectorized gdpo grpo_passk reinforce_plus_plus_baseline reinforce_plus_plus
        rloo rloo_vectorized opo remax gpg optimal_token_baseline tir_optimal_token_baseline use_pf_ppo""",
    "verl's losses": """vanilla dppo_tv dppo_kl gspo sapo gpg clip_cov kl_cov geo_mean dro cispo bypass_mode
        loss_scale_factor clip_ratio_c token-mean token-sum seq-mean-token-sum seq-mean-token-sum-norm
        seq-mean-token-mean rollout_is rollout_rs low_var_kl k3+ use_kl_in_reward kl_ctrl""",
    "TRL": """bnpo dr_grpo dapo luspo cispo sapo vespo delta epsilon_high importance_sampling_level scale_rewards
        multi_objective_aggregation normalize_then_sum off_policy_mask_threshold use_bias_correction_kl
        top_entropy_quantile mask_truncated_completions token_truncate token_mask sequence_truncate sequence_mask
        normalize_advantages A2PO GFPO""",
    "others": """group_norm reinforce_baseline flash_reinforce maxrl max_rl prompt_mean topr kimi15 tis icepop m2po fipo
        real ipo rlsd sdar opd rae gigpo length_adaptive_alpha use_decoupled_loss advantage_clip""",
}


@pytest.mark.parametrize("trainer", TRAINERS)
def test_preset_page_knows_the_trainers_words(trainer: str) -> None:
    """In a table or among what is left out."""
    text = page("docs/presets.md")
    assert [word for word in TRAINERS[trainer].split() if not re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)
            ] == []


def test_preset_tables_try_and_do_not_look_up(presets: ModuleType) -> None:
    whitened = schemes.ppo(whiten=True)
    assert [presets.exact(schemes.grpo()), presets.exact(whitened), presets.exact(whitened, old=True)] == [
        "sum", "large batch", "large batch"]
    assert presets.exact(schemes.grpo(reward=ls.Reward(shaping=ls.rewards.KimiLength()))) == "no"
    assert [presets.sampled(schemes.grpo()), presets.sampled(whitened)] == ["yes", "on-policy"]
    entropy = replace(schemes.grpo(), penalties=(penalties.Entropy(coefficient=0.1),))
    assert [presets.on_tokens(schemes.grpo()), presets.on_tokens(entropy)] == ["yes", "no"]


def test_comparisons_are_those_of_the_tests(presets: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    """Read from the files: every class, option and string that code for the row would have."""
    clip = presets.Row(of={"surrogate": surrogates.PPOClip(dual=3.0)})
    masked = presets.Row(of={"truncation": "mask"})
    weights = presets.Row(function="importance_weights", of={"outside": "zero"}, words=("peer",))
    monkeypatch.setattr(presets, "PEERS", tmp_path)
    assert presets.compared(clip) == []
    (tmp_path / "test_verl.py").write_text("x = [PPOClip(), f(truncation='keep'), importance_weights(outside='zero')]")
    (tmp_path / "test_trl.py").write_text("x = s.PPOClip(dual=1.5), {'truncation': 'mask'}, 'dual'")
    (tmp_path / "test_rlax.py").write_text("'PPOClip', 'importance_weights', dict(dual=2), {'outside': 'zero'}, peer")
    assert presets.compared(clip) == ["trl"]
    assert presets.compared(masked) == ["trl"]
    assert presets.compared(weights) == []
    (tmp_path / "test_expected.py").write_text("peer.go(importance_weights, {'outside': 'zero'})")
    assert presets.compared(weights) == ["expected"]


def test_every_paper_that_code_cites_is_a_reference() -> None:
    known = {source.arxiv for source in references.REFERENCES}
    cited = {number for path in (ROOT / "lossim").rglob("*.py")
             for number in re.findall(r"\b\d{4}\.\d{5}\b", path.read_text(encoding="utf-8"))}
    assert len(cited) > 20
    assert cited <= known


def test_names_of_columns_are_those_that_readers_know() -> None:
    rows = [line.split("|")[1:4] for line in page("docs/auditing.md").splitlines() if line.startswith("| ")]
    listed = {field.strip(): tuple(re.findall(r"`([^`]+)`", names)) for field, _, names in rows[1:]}
    assert listed == ALIASES
