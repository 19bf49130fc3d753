"""The documents: their code runs, their links lead somewhere, their tables and numbers are those of the code."""

from __future__ import annotations

import doctest
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import lossim as ls
from lossim import schemes

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")),
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


def test_broken_sees_what_it_should(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# One two: three\n")
    bad = tmp_path / "a.md"
    bad.write_text("[x](b.md) [y](b.md#one-two-three) [z](https://example.org/no) [p](c.md) ![q](b.md#four) [r](#five)")
    assert broken(bad) == ["c.md", "b.md#four", "#five"]


def test_readme_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks with prompts first, with their output; then those without, which use the same names and write files."""
    text = page("README.md")
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    names: dict[str, object] = {}
    examples = doctest.DocTestParser().get_doctest(text, names, "README.md", "README.md", 0)
    outcome = doctest.DocTestRunner(optionflags=flags).run(examples, clear_globs=False)
    assert outcome.attempted > 10
    assert outcome.failed == 0
    monkeypatch.chdir(tmp_path)
    plain = [block for block in BLOCK.findall(text) if ">>>" not in block]
    assert plain
    for block in plain:
        exec(compile(block, "README.md", "exec"), examples.globs)
    assert (tmp_path / "drift.png").stat().st_size > 10_000


def test_readme_commands_are_targets() -> None:
    wanted = set(re.findall(r"`?make ([a-z-]+)", page("README.md")))
    offered = set(re.findall(r"^([a-z-]+):.*##", page("Makefile"), re.MULTILINE))
    assert {"test", "figures", "check"} <= wanted <= offered


def test_readme_numbers_are_those_of_the_figures() -> None:
    text = " ".join(page("README.md").split())
    reality = json.loads(page("figures/output/reality.json"))
    assert reality["right_sign"]["measured kernel"] == reality["length_slopes_beyond_3"]
    assert f"all {reality['length_slopes_beyond_3']} significant length slopes" in text
    grid = re.search(r"(\d+) schemes: eight", page("figures/README.md"))
    assert grid
    assert f"{grid[1]} schemes, exact against Monte Carlo" in text


@pytest.fixture(scope="module")
def presets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_presets", ROOT / "docs" / "make_presets.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_preset_table_is_current(presets: ModuleType) -> None:
    assert page("docs/presets.md") == presets.page(), "run python docs/make_presets.py"


def test_preset_table_has_every_preset(presets: ModuleType) -> None:
    others = {"Scheme", "compare"}
    assert set(presets.ENTRIES) == set(schemes.__all__) - others
    for name, entry in presets.ENTRIES.items():
        assert getattr(schemes, name)(**dict(entry.arguments)).name == name


def test_preset_table_tries_and_does_not_look_up(presets: ModuleType) -> None:
    assert presets.how(schemes.grpo()) == "exact (sum)"
    assert presets.how(schemes.grpo(reward=ls.Reward(shaping=ls.rewards.KimiLength()))) == "Monte Carlo"
