"""Documents about the code: what they name is there, and docs/architecture.md has the rooms and imports that are."""

from __future__ import annotations

import ast
import importlib
import json
import operator
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "lossim"
PAGE = ROOT / "docs" / "architecture.md"
FILE = re.compile(r"`([\w./]+\.(?:py|md|json|png))(?:: [\w.]+)?`")
STATION = re.compile(r"`([\w./]+\.py): ([\w.]+)`")
FOLDERS = sorted(face.parent for face in LIBRARY.glob("*/__init__.py"))


@pytest.fixture(scope="module")
def rooms() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("draw_rooms")
    sys.path.remove(str(ROOT / "docs"))


def found(name: str) -> Path | None:
    """A file that the page names: from the root, within the library, or beside the page."""
    return next((folder / name for folder in (ROOT, LIBRARY, PAGE.parent) if (folder / name).is_file()), None)


def holds(path: Path, name: str) -> bool:
    """Whether a file of Python has an object; only those of the library are imported."""
    if not path.is_relative_to(LIBRARY):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return name in {each.id for each in ast.walk(tree) if isinstance(each, ast.Name)} | {
            each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.ClassDef)}
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    try:
        operator.attrgetter(name)(module)
    except AttributeError:
        return False
    return True


def gone(text: str) -> list[str]:
    """What a text names that is not there: files, and objects at stations ``file: object``."""
    files = [name for name in FILE.findall(text) if found(name) is None]
    stations = [(found(file), file, name) for file, name in STATION.findall(text)]
    return files + [f"{file}: {name}" for path, file, name in stations if path is not None and not holds(path, name)]


def test_what_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(STATION.findall(text)) > 60
    assert gone(text) == []


def test_gone_sees_what_it_should() -> None:
    text = ("`_engine/step.py: Step.task` `lossim/critics/_base.py: Critic` `tests/shared/kinds.py: MAKERS` "
            "`rooms.json` `_engine/step.py: Step.nothing` `_engine/steps.py: Step` `tests/shared/kinds.py: NONE` "
            "`lossim/none.py`")
    assert gone(text) == ["_engine/steps.py", "lossim/none.py", "_engine/step.py: Step.nothing",
                          "tests/shared/kinds.py: NONE"]


def test_code_and_proofs_of_derivations_are_there() -> None:
    """Objects in modules, as "`a`, `b` and `c` in `lossim.module`", and tests."""
    text = " ".join((ROOT / "docs" / "derivations.md").read_text(encoding="utf-8").split())
    modules = set(re.findall(r"`(lossim(?:\.\w+)+)`", text))
    assert len(modules) > 15
    for name in modules:
        importlib.import_module(name)
    places = re.findall(r"((?:`[\w.]+`(?:, | and )?)+) in `(lossim[\w.]+)`", text)
    assert len(places) > 15
    for names, module in places:
        path = found(module.replace(".", "/") + ".py") or found(module.replace(".", "/") + "/__init__.py")
        assert path is not None, module
        assert [name for name in re.findall(r"`([\w.]+)`", names) if not holds(path, name)] == [], module
    tests = re.findall(r"`(tests/[\w/]+(?:\.py)?)`", text)
    assert len(tests) > 15
    assert [name for name in tests if not (ROOT / name).exists()] == []


def test_walks_have_stations_in_order() -> None:
    walks = PAGE.read_text(encoding="utf-8").partition("## Three walks")[2].partition("\n## ")[0]
    titles = re.findall(r"^### (.*)$", walks, re.MULTILINE)
    assert titles == ["A length law through `drift`", "A reward through Monte Carlo", "A logged row through `audit`"]
    for walk in walks.split("### ")[1:]:
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", walk, re.MULTILINE)]
        assert numbers == list(range(1, len(numbers) + 1))
        for station in re.split(r"^\d+\. ", walk, flags=re.MULTILINE)[1:]:
            assert STATION.search(station), station


def test_picture_and_tables_are_current(rooms: ModuleType) -> None:
    told = "run python docs/draw_rooms.py"
    assert json.loads(rooms.DATA.read_text(encoding="utf-8")) == rooms.compute(), told
    assert PAGE.read_text(encoding="utf-8") == rooms.page(PAGE.read_text(encoding="utf-8")), told
    assert rooms.PICTURE.stat().st_size > 50_000


def test_every_room_has_a_purpose(rooms: ModuleType) -> None:
    """In the picture two lines at most, on the page a sentence: the first of its docstring."""
    known = [room for floor in rooms.floors() for room in floor]
    assert sorted(known) == sorted(rooms.ROOMS)
    for room, (_, purpose) in rooms.ROOMS.items():
        assert 1 <= len(textwrap.wrap(purpose, 22)) <= 2, room
        for path in rooms.files(room):
            assert 10 < len(rooms.purpose(path)) < 130, path


def test_purposes_of_files_are_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for room in ("_engine", "_model", "_training"):
        for path in (LIBRARY / room).glob("[!_]*.py"):
            assert f"| `{room}/{path.name}` | " in text


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_folders_have_a_face_and_a_contract(folder: Path) -> None:
    contract = (folder / ".importlinter").read_text(encoding="utf-8")
    assert f"containers = lossim.{folder.name}\n" in contract
    assert f"allowed_importers = lossim.{folder.name}\n" in contract or folder.name == "_support"


def past_faces(source: str, own: str) -> list[str]:
    """Files of other folders that a module names in its imports.

    The contracts say the same. But they take `from lossim._engine import drift` for an import of the file of that name,
    and have to let it pass.
    """
    folders = {folder.name for folder in FOLDERS} - {own, "_support"}
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return [name for name in names if name.count(".") > 1 and name.split(".")[1] in folders]


def test_no_module_reaches_past_a_face() -> None:
    for path in LIBRARY.rglob("*.py"):
        assert past_faces(path.read_text(encoding="utf-8"), path.parent.name) == [], path


def test_past_faces_sees_what_it_should() -> None:
    source = ("from lossim.tokens import loss\nfrom lossim.rewards.shapings import Cosine\nimport lossim.tokens.loss\n"
              "from lossim._support.types import FloatArray\nfrom lossim.lengths.laws import Length\nimport lossim")
    assert past_faces(source, "lengths") == ["lossim.rewards.shapings", "lossim.tokens.loss"]
