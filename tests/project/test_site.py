"""What makes the site: pages and links laid out, a reference with every public object, links that are looked at."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest

import lossim

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"


@pytest.fixture(scope="module")
def site() -> Iterator[SimpleNamespace]:
    names = ("api", "links", "stage")
    sys.path.insert(0, str(SITE))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    sys.path.remove(str(SITE))
    for name in names:
        del sys.modules[name]


# --- the reference ---------------------------------------------------------------------------------------------------


def test_reference_has_every_public_object_once(site: SimpleNamespace) -> None:
    """What lossim and its public modules offer; each has one entry, and a line in the table."""
    pages = site.api.reference()
    entries = re.findall(r"^\.\. auto(?:class|function|module):: (\S+)$", "\n".join(pages.values()), re.MULTILINE)
    assert len(entries) == len(set(entries))
    offered = [getattr(lossim, name) for name in lossim.__all__]
    offered += [getattr(module, name) for module in filter(inspect.ismodule, offered) for name in module.__all__]
    documented = [eval(name, {"lossim": lossim}) for name in entries if name != "lossim"]
    things = (type, FunctionType, ModuleType)
    assert {id(value) for value in documented} == {id(value) for value in offered if isinstance(value, things)}
    constants = re.findall(r"^\.\. py:data:: (\S+)$", pages["reference/references.rst"], re.MULTILINE)
    assert set(constants) == set(lossim.references.__all__) - {"Reference"}
    table = pages["reference/index.rst"]
    for name in lossim.__all__:
        assert f"`{name} <lossim.{name}>`" in table or f"\n    {name}\n" in table


def test_reference_names_no_object_twice_in_its_groups(site: SimpleNamespace) -> None:
    grouped = [name for names in site.api.GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) <= set(lossim.__all__)


def roles_that_lead_nowhere(documented: dict[str, Any], known: set[str]) -> list[str]:
    """References in docstrings, of what is documented by its name and of its public members, to what is not known."""
    found = []
    for name, value in documented.items():
        scopes = ("", f"{name}.", f"{name.rpartition('.')[0]}.")
        members = [getattr(value, each) for each in dir(value) if inspect.isclass(value) and not each.startswith("_")]
        for role, target in re.findall(r":(func|meth|class|mod):`~?([^`]+)`", "\n".join(
                inspect.getdoc(each) or "" for each in (value, *members) if not isinstance(each, str | tuple))):
            stdlib = target.partition(".")[0] in sys.stdlib_module_names
            if not stdlib and not any(f"{scope}{target}" in known for scope in scopes):
                found.append(f"{name}: {role} {target}")
    return found


def test_references_in_docstrings_lead_somewhere(site: SimpleNamespace) -> None:
    """What the build would refuse, by dotted names."""
    documented = {at: value for at, value in site.api.places().values()} | site.api.modules()
    known = {"lossim"} | set(documented) | {f"{at}.{each}" for at, value in documented.items() for each in dir(value)}
    assert roles_that_lead_nowhere(documented, known) == []
    assert roles_that_lead_nowhere(documented, known - {"lossim.drift"}) != []


@pytest.mark.parametrize(("line", "shown"), [
    ("|x| of x_ but not ``|x|`` or a_b", r"\|x\| of x\_ but not ``|x|`` or a_b"),
    (">>> |x_| stays", ">>> |x_| stays"),
])
def test_docstrings_mean_what_they_say(site: SimpleNamespace, line: str, shown: str) -> None:
    assert site.api.escaped(line) == shown


def test_sections_become_fields(site: SimpleNamespace) -> None:
    docstring = ["One line.", "", "Args:", "    a, b: words: more", "        and more.", "    *c: rest", "", "Returns:",
                 "    A number: 3.", "", ">>> 1", "1"]
    assert site.api.sections(docstring) == [
        "One line.", "", ":Arguments:", "    - **a, b** – words: more", "      and more.", r"    - **\*c** – rest",
        "", ":Returns:", "    A number: 3.", "", ">>> 1", "1"]


# --- pages -----------------------------------------------------------------------------------------------------------


def test_links_are_those_of_the_site(site: SimpleNamespace) -> None:
    files: set[str] = set()
    source = ROOT / "docs" / "x.md"
    text = ("[a](model.md#responses) [model.md](model.md) [b](../figures/README.md)\n"
            "![c](../figures/output/reality.png) [d](https://example.org/e.md) [f](#g) [h](nowhere.md) "
            "<img src=\"rooms.png\">\n\n```python\n>>> f[a](model.md)\n\n```\n")
    assert site.stage.rewritten(text, source, "deep/x.md", files) == (
        "[a](../model.md#responses) [](../model.md) [b](../gallery.md)\n![c](../files/figures/output/reality.png) "
        "[d](https://example.org/e.md) [f](#g) [h](nowhere.md) <img src=\"../files/docs/rooms.png\">\n\n"
        "```python\n>>> f[a](model.md)\n```\n")
    assert files == {"figures/output/reality.png", "docs/rooms.png"}


def test_every_page_is_laid_out_and_listed(site: SimpleNamespace, tmp_path: Path) -> None:
    site.stage.stage(tmp_path, {"reference/index.rst": "Reference\n"})
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.md")}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= there
    assert {"index.md", "gallery.md", "changes.md", "contributing.md"} <= there
    index = (tmp_path / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^[\w/]+$", "\n".join(re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)), re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {f"{name}.md" for name in listed} - {"reference/index.md"} == there - {"index.md"}


def test_pages_of_an_earlier_build_go(site: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("gone")
    site.stage.stage(tmp_path, {})
    assert not (tmp_path / "old.md").exists()
    page = tmp_path / "model.md"
    before = page.stat().st_mtime_ns
    site.stage.stage(tmp_path, {})
    assert page.stat().st_mtime_ns == before


def test_notebooks_are_stored_without_outputs_and_say_that_they_run() -> None:
    notebooks = sorted((ROOT / "docs" / "tutorials").glob("*"))
    assert len(notebooks) >= 4
    for path in notebooks:
        text = path.read_text(encoding="utf-8")
        assert path.suffix == ".md"
        assert text.startswith("---\nfile_format: mystnb\n")
        assert text.count("```{code-cell} ipython3\n") >= 4
        assert len(text) < 10_000


# --- links of what was built ------------------------------------------------------------------------------------------


def test_wrong_links_are_seen(site: SimpleNamespace, tmp_path: Path) -> None:
    good = ('<a href="b.html#x">1</a><a href="#top" id="top">2</a><a href="https://example.org/a#b">3</a>'
            '<img src="p.png?v=1"><img src="data:image/png;base64,AA">')
    bad = ('<a href="c.html">1</a><a href="b.html#y">2</a><a href="#no">3</a><a href="https://example">4</a>'
           '<script src="https://cdn.example.org/x.js"></script><link rel="stylesheet" href="//cdn.example.org/y.css">'
           '<img src="q.png">')
    (tmp_path / "p.png").write_bytes(b"")
    (tmp_path / "b.html").write_text('<h1 id="x">x</h1>')
    (tmp_path / "good.html").write_text(good)
    assert site.links.wrong(tmp_path) == []
    (tmp_path / "bad.html").write_text(bad)
    assert site.links.wrong(tmp_path) == [f"bad.html: {link}" for link in (
        "c.html", "b.html#y", "#no", "https://example", "https://cdn.example.org/x.js", "//cdn.example.org/y.css",
        "q.png")]
