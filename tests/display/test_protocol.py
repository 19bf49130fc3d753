"""Every result is printed, shown, tabulated, saved and reported by one protocol, whatever names users gave."""

from __future__ import annotations

import inspect
import json
import re
import sys
import tempfile
import types
import typing
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings

import lossim as ls
from lossim._display import Bar, Number, Points, Section, Table, Text, Turn, bars, counted, turns
from results import EDGES, EVIL, RESULTS, Toy

VOID = {"br", "meta", "link", "img", "hr"}
GIVEN = {ls.Policy, ls.Estimate, ls.Kernels}
"""Classes that methods of results return, and that are no results: what verbs are given, and numbers."""
VERBS = (ls.attribute, ls.audit, ls.drift, ls.fit, ls.forecast, ls.length_drift, ls.pace, ls.read_config, ls.stops,
         ls.survey, ls.sweep, ls.train, ls.what_if, ls.Rollouts.read, ls.Curves.read, ls.Curves.of)
ALL = RESULTS | EDGES


class Read(HTMLParser):
    """Elements, attributes and text of a piece of HTML; an element that is not closed in its place is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))


@cache
def result(name: str) -> Any:
    """Each is worked out once for all that is asked of it."""
    return ALL[name]()


@pytest.mark.parametrize("name", ALL)
def test_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Printed, shown, saved, reported and tabulated; from its file as it was itself."""
    found = result(name)
    assert type(found).__name__ == name.split()[0]
    assert isinstance(found, ls.Result)
    shown = found._repr_html_()
    check_shown(str(found).splitlines()[0], shown)
    made = found.to_dict()
    assert json.loads(json.dumps(made, allow_nan=False)) == made

    path = tmp_path / ("result.json" if "at" in name else "result.json.gz")
    found.save(path)
    saved = ls.load(path)
    assert (saved.kind, saved.version) == (type(found).__name__, ls.__version__)
    assert str(saved) == repr(saved) == str(found)
    assert saved._repr_html_() == shown
    assert saved.to_dict() == made
    saved.save(again := tmp_path / f"again{path.suffix}")
    assert again.read_bytes() == path.read_bytes()

    for each, file in ((found, "one.html"), (saved, "two.html")):
        each.report(tmp_path / file)
    report = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert report == (tmp_path / "two.html").read_text(encoding="utf-8")
    tags = Read(report.removeprefix("<!doctype html>")).tags
    assert tags.count("html") == 1
    assert "svg" in tags
    assert "b" not in tags
    check_frames(found, saved, monkeypatch)


def check_shown(sentence: str, shown: str) -> None:
    """What a notebook shows: a sentence, a table and a picture, and nothing that acts on the page around it."""
    read = Read(shown)
    assert sentence
    assert ("p", sentence) in read.text
    assert {"svg", "title", "desc", "table"} <= set(read.tags)
    assert all(text.strip() for tag, text in read.text if tag == "title")
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    # nothing is fetched, run, or said about other elements of the page; no element is a user's
    assert not {"script", "style", "link", "b", "img", "iframe"} & set(read.tags)
    names = {name for name, _ in read.attributes}
    assert not any(name.startswith("on") or name == "src" for name in names)
    assert [value for name, value in read.attributes if name == "class"] == ["lossim"]
    links = [value for name, value in read.attributes if name.endswith("href")]
    assert all(value.startswith(("#", "data:image/png;base64,")) for value in links)


def check_frames(found: Any, saved: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tidy table, the same by pandas and by polars alone, of a result and from its file."""
    one = found.to_dataframe()
    pd.testing.assert_frame_equal(saved.to_dataframe(), one)
    assert len(one) > 0
    monkeypatch.setitem(sys.modules, "pandas", None)
    other = found.to_dataframe()
    assert isinstance(other, pl.DataFrame)
    assert other.columns == list(one.columns)
    for name in other.columns:
        if one[name].dtype.kind == "f":
            np.testing.assert_array_equal(other[name].to_numpy(), one[name].to_numpy())
        else:
            assert other[name].to_list() == one[name].tolist()
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match=r"to_dataframe needs pandas or polars: pip install 'lossim\[tables\]'"):
        found.to_dataframe()


@pytest.mark.parametrize("name", ["Drift", "FittedDrift"])
def test_arrays_can_be_left_out_of_a_file(name: str, tmp_path: Path) -> None:
    found = result(name)
    found.save(tmp_path / "short.json", arrays=False)
    short = ls.load(tmp_path / "short.json").to_dict()
    assert short == found.to_dict(arrays=False) != found.to_dict()


def words(name: str) -> str:
    return "".join(text for _, text in Read(result(name)._repr_html_()).text)


@pytest.mark.parametrize("name", ["Drift", "Training", "Fit", "FittedTraining", "Sweep", "ParsedConfig", "Description"])
def test_names_of_users_are_there_as_they_were_given(name: str) -> None:
    assert EVIL in words(name)


# letters of any kind, also those that no file of text can hold
ANY = st.text(st.characters(exclude_categories=()), max_size=12)
NUMBERS = st.floats() | st.integers(-2**53, 2**53)
CELLS = st.builds(lambda value, text: Number(value=float(value), text=text), NUMBERS, ANY) | ANY
PARTS = st.one_of(
    st.builds(lambda text, code: Text(text=text, code=code), ANY, st.booleans()),
    st.builds(lambda items: Points(items=tuple(items)), st.lists(ANY, max_size=3)),
    st.builds(lambda title, rows, note: Table(title=title, columns=("a", title), rows=tuple(rows), note=note),
              ANY, st.lists(st.tuples(CELLS, CELLS), max_size=3), ANY))
SECTIONS = st.lists(st.builds(lambda title, parts, folded: Section(title=title, parts=tuple(parts), folded=folded),
                              ANY, st.lists(PARTS, min_size=1, max_size=3), st.booleans()), max_size=3)


@st.composite
def columns(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(0, 4))
    kinds = st.sampled_from([st.floats(), st.integers(-2**53, 2**53), st.booleans(), st.text(max_size=5)])
    return {name: draw(st.lists(draw(kinds), min_size=count, max_size=count))
            for name in draw(st.lists(st.text(max_size=5), unique=True, min_size=1, max_size=4))}


@settings(max_examples=60)
@given(sections=SECTIONS, table=columns(), text=ANY)
def test_whatever_a_result_says_comes_back_from_its_file(sections: Any, table: dict[str, Any], text: str) -> None:
    made = Toy(sections, table, text)
    with tempfile.TemporaryDirectory() as folder:
        made.save(path := Path(folder) / "toy.json")
        saved = ls.load(path)
        made.report(Path(folder) / "one.html")
        saved.report(Path(folder) / "two.html")
        assert (Path(folder) / "one.html").read_bytes() == (Path(folder) / "two.html").read_bytes()
    shown = made._repr_html_()
    assert saved._repr_html_() == shown
    shown.encode()
    Read(shown)
    assert str(saved) == text
    assert saved.to_dict() == {"text": text}
    pd.testing.assert_frame_equal(saved.to_dataframe(), made.to_dataframe())


@pytest.mark.parametrize("name", ["a name\x07\udcff", "路径 😀", "$\\frac{a$", "\u202eabc", "<svg onload=x>", "a\nb"])
def test_a_picture_has_any_name(name: str, tmp_path: Path) -> None:
    """No letter is a formula, an element or an error, and a font that lacks it is no warning."""
    rows = [Bar(label=name, value=1.0, low=0.0, high=2.0)]
    turned = [Turn(label=name, now=1.0, needed=float("nan"))]
    pictures = (bars(name, rows, name), turns(name, turned), counted(name, {name: np.ones(2), "": np.zeros(0)}, name))
    toy = Toy([Section(title=name, parts=pictures)], {"a": [1]}, name)
    read = Read(toy._repr_html_())
    assert read.tags.count("svg") == 3
    assert not any(attribute.startswith("on") for attribute, _ in read.attributes)
    toy._repr_html_().encode()
    toy.report(tmp_path / "toy.html")
    toy.save(tmp_path / "toy.json")
    assert ls.load(tmp_path / "toy.json")._repr_html_() == toy._repr_html_()


PAGE = Path(__file__).parents[2] / "docs" / "results.md"
OPEN = {"Survey", "Sweep", "Curves", "Rollouts", "FittedTraining", "Training"}
"""Results whose columns hang on what was asked, or stand in another row."""


def test_columns_are_those_of_the_documentation() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- columns -->")[2].partition("<!-- end -->")[0]
    named = {kind: set(re.findall(r"`(\w+)`", columns)) for kinds, _, columns in
             (line.strip("| ").split(" | ") for line in table.strip().splitlines()[2:])
             for kind in re.findall(r"`(\w+)`", kinds)}
    assert set(named) == {name.split()[0] for name in RESULTS}
    named["FittedTraining"] |= named["Training"]
    for name in RESULTS:
        kind = name.split()[0]
        there = set(result(name).to_dataframe().columns)
        if kind not in OPEN:
            assert there == named[kind], name
        elif kind in ("Rollouts", "Training", "FittedTraining"):
            assert there <= named[kind] - {"Training"}, name
        else:
            assert named[kind] & there, name


# --- every class of results has it ------------------------------------------------------------------------------


def classes(hint: Any) -> Iterator[type]:
    """The classes of lossim that a hint names."""
    if isinstance(hint, type) and hint.__module__.startswith("lossim"):
        yield hint
    for part in typing.get_args(hint):
        yield from classes(part)


def returned(function: Any) -> set[type]:
    """The classes of lossim that a function may return."""
    function = inspect.unwrap(getattr(function, "__func__", function))
    hint = typing.get_type_hints(function, vars(sys.modules[function.__module__]) | {"Self": None}).get("return")
    return set(classes(hint))


def handed_on(kind: type) -> set[type]:
    """What public methods and subscripts of a class return."""
    methods = {name: each for name, each in vars(kind).items() if isinstance(each, types.FunctionType)
               and (not name.startswith("_") or name == "__getitem__")}
    found: set[type] = set()
    for each in methods.values():
        try:
            found |= returned(each)
        except NameError:  # of a library that is imported for types alone
            continue
    return found


def test_whatever_verbs_return_is_a_result() -> None:
    """Also what results return when they are asked for more: a result without the protocol is found here."""
    known = set().union(*(returned(verb) for verb in VERBS)) | {ls.Rollouts, ls.Curves}
    while (more := known | set().union(*(handed_on(kind) for kind in known)) - GIVEN) != known:
        known = more
    assert {kind.__name__ for kind in known} >= {"Drift", "FittedTraining", "Finding", "SlotShare", "Description"}
    assert [kind for kind in known if not issubclass(kind, ls.Result)] == []
    tried = {name.split()[0] for name in RESULTS}
    assert {kind.__name__ for kind in known} <= tried
    assert {"Stop", "Goal"} <= tried  # which stand in fields


# --- files that are none ----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    ls.pace(kl_per_step=1e-4).save(tmp_path / "pace.json")
    return tmp_path / "pace.json"


def test_a_file_cut_anywhere_says_so(saved: Path) -> None:
    data = saved.read_bytes()
    for end in (0, 1, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:end])
        with pytest.raises(ValueError, match=r"path must hold whole JSON, and .*pace\.json'; if it was cut"):
            ls.load(saved)


def test_a_packed_file_cut_says_so(tmp_path: Path) -> None:
    path = tmp_path / "pace.json.gz"
    ls.pace(kl_per_step=1e-4).save(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="path must hold whole JSON"):
        ls.load(path)


@pytest.mark.parametrize(("content", "message"), [
    ("[1, 2]", "must be a saved result, and it holds another kind of JSON"),
    ('{"loss_type": "grpo"}', r'must be a saved result, with "format": "lossim result".*; give a file that the \.save'),
    ('{"format": "lossim result", "schema": true}', "must be a whole saved result|must be a saved result"),
    ('{"format": "lossim result", "schema": 1}', r"must be a whole saved result, .*KeyError: 'kind'.*save the result"),
    ('{"format": "lossim result", "schema": 2, "lossim": "9.1"}',
     r"schema of .*pace\.json must be at most 1, which this lossim reads, got 2; the file is of lossim 9\.1"),
])
def test_another_file_is_refused_and_says_what_to_give(saved: Path, content: str, message: str) -> None:
    saved.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ls.load(saved)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a file that exists"):
        ls.load(tmp_path / "none.json")
    with pytest.raises(FileNotFoundError, match="path must lie in a folder that exists"):
        ls.pace(kl_per_step=1e-4).save(tmp_path / "none" / "pace.json")
    with pytest.raises(TypeError, match="path must be a path"):
        ls.load(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("drawn", [
    "<svg><script>x</script></svg>", '<svg onload="x"></svg>', '<svg><use href="http://a/b#c"/></svg>',
    "<svg></svg></div><p>", "<svg><g></svg>", "<svg></svg>and<svg></svg>", '<svg><g style="fill:url(http://a)"/></svg>',
    "<svg><foreignObject/></svg>", "<svg/><script>x</script>", "<!-- --><svg/>", "<p></p>", "",
    '<svg><a href="javascript:x"/></svg>', '<svg><image href="data:image/svg+xml;base64,eA=="/></svg>'])
def test_a_picture_that_does_more_than_draw_is_refused(saved: Path, drawn: str) -> None:
    made = json.loads(saved.read_text(encoding="utf-8"))
    for part in made["page"]["sections"][0]["parts"]:
        if part["part"] == "Picture":
            part["drawn"] = drawn
    saved.write_text(json.dumps(made), encoding="utf-8")
    with pytest.raises(ValueError, match=r"a picture in it holds .*and may only draw"):
        ls.load(saved)
