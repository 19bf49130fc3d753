"""What a release says of itself: one version, a valid citation, a changelog in its form, a page for an index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import lossim

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
RELATIVE = re.compile(r"\]\((?![a-z]+:)[^)]*\)")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


def index_page(pyproject: dict[str, Any], page: str) -> str:
    """A page as a package index gets it."""
    for rule in pyproject["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        page = re.sub(rule["pattern"], rule["replacement"], page)
    return page


def test_version_has_one_place(pyproject: dict[str, Any]) -> None:
    assert "version" not in pyproject["project"]
    assert "version" in pyproject["project"]["dynamic"]
    assert re.findall(r'^__version__ = "(.*)"$', text(pyproject["tool"]["hatch"]["version"]["path"]), re.MULTILINE) == [
        lossim.__version__]


def test_citation_is_of_this_version_and_licence(pyproject: dict[str, Any]) -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format asks for
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["version"] == lossim.__version__
    assert citation["license"] == pyproject["project"]["license"]
    assert [author["name"] for author in citation["authors"]] == [
        author["name"] for author in pyproject["project"]["authors"]]


def test_changelog_keeps_its_form() -> None:
    """Versions fall, each with a date, and say what changed under six headings; this one is there or will be."""
    changes = text("CHANGELOG.md")
    first, *released = re.findall(r"^## (.*)$", changes, re.MULTILINE)
    assert first == "[Unreleased]"
    dated = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d{2}-\d{2}", heading) for heading in released]
    assert all(dated)
    versions = [tuple(map(int, found.groups())) for found in dated if found]
    assert versions == sorted(set(versions), reverse=True)
    coming = re.search(r"^What will be (\S+)\.$", changes, re.MULTILINE)
    assert lossim.__version__ in {coming and coming[1], *(".".join(map(str, version)) for version in versions)}
    kinds = re.findall(r"^### (.*)$", changes, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert not re.search(r"^####|^# (?!Changelog)", changes, re.MULTILINE)


def test_index_page_has_all_words_and_no_link_that_leads_nowhere(pyproject: dict[str, Any]) -> None:
    readme = text("README.md")
    shown = index_page(pyproject, readme)
    assert RELATIVE.search(FENCE.sub("", readme))
    assert not RELATIVE.search(FENCE.sub("", shown))
    assert FENCE.findall(shown) == FENCE.findall(readme)
    assert re.findall(r"^#.*", shown, re.MULTILINE) == re.findall(r"^#.*", readme, re.MULTILINE)


def test_index_page_is_made_as_it_should(pyproject: dict[str, Any]) -> None:
    page = "a [b `c`](d.md#e) [f](https://g.org/h)\n\n[![i](j.png)](k.md)\n\n![l](m.png) n [o](#p)\n"
    assert index_page(pyproject, page) == "a b `c` [f](https://g.org/h)\n\n n o\n"


def test_classifiers_begin_where_python_does(pyproject: dict[str, Any]) -> None:
    prefix = "Programming Language :: Python :: 3."
    minors = sorted(int(line.removeprefix(prefix)) for line in pyproject["project"]["classifiers"]
                    if line.startswith(prefix))
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert pyproject["project"]["requires-python"] == f">=3.{minors[0]}"
    assert pyproject["tool"]["ruff"]["target-version"] == f"py3{minors[0]}"
