"""Where tests stand: what several of them need is in tests/shared, none imports another, and few know private names."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
PRIVATE = {
    "shared/batches.py",  # the engine's steps on batches that were drawn: nothing public takes a batch of indices
    "shared/config_keys.py",  # the settings that readers of configs know
    "shared/log_files.py",  # the columns that readers of logs know
    "shared/results.py",  # a result with a page of its own
    "shared/sizes.py",  # how much is handled at once, which no argument says
    "auditing/test_blocks.py",  # what is drawn again of a log
    "auditing/test_readings.py",  # the wording of verdicts over shares, which no small log has all cases of
    "auditing/test_states.py",  # the policy that a log of two states makes, redrawn
    "changes/test_attribute.py",  # values of games that no schemes play, and mixtures that nothing public makes
    "changes/test_stops.py",  # roots of functions that no scheme has
    "changes/test_targets.py",  # the search by itself, for curves that no run has
    "cli/test_completion.py",  # every command
    "cli/test_colour.py",  # colours of any text, and when
    "cli/test_demo.py",  # every command, and fewer questions
    "cli/test_doctor.py",  # packages that are not there
    "cli/test_numbers.py",  # a sentence of a table, for numbers that no scheme has
    "cli/test_page.py",  # every command
    "configs/test_changing.py",  # settings by the words of changes, which pages alone show
    "engine/test_ahead.py",  # sums by sign over all pairs
    "engine/test_numerics.py",  # recurrences, compositions and reciprocals, to the last digits
    "engine/test_token_sums.py",  # sums of coefficients by token, of weights that no scheme has
    "engine/test_side_by_side.py",  # drifts of many policies in one go, which surveys ask one draw at a time
    "engine/test_standardized.py",  # the quadrature of standardised advantages, to the last digits
    "engine/test_states_lambda.py",  # sums over the tokens of a response, by how it ended
    "engine/test_states_paid.py",  # how much is handled at once
    "engine/test_step_std.py",  # the spread of one step, which a result holds rounded with all else
    "fitting/test_mixture.py",  # the law of solve rates, against other roads to it
    "forecasting/test_clock.py",  # the law that rates have after some steps
    "launch/test_against_bash.py",  # the words of a script, which no config shows
    "launch/test_anything.py",  # the words of a script, which no config shows
    "launch/test_bombs.py",  # the words of a script, which no config shows
    "launch/test_read.py",  # the words of a script, which no config shows
    "forecasting/test_ways.py",  # where length goes under each kernel
    "logs/test_whose.py",  # texts of messages, and counts of masks
    "display/test_protocol.py",  # pages that no result has, with any letter in any place
    "shared/pages.py",  # a page with what no result says, as it is written
    "pictures/test_sheets.py",  # what a notebook asks a picture for
}


def sources(pattern: str) -> list[Path]:
    return sorted(path for path in TESTS.rglob(pattern) if "data" not in path.parts)


def name(path: Path) -> str:
    return path.relative_to(TESTS).as_posix()


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything that a module imports, at its top or inside of functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def borrowed(source: str) -> list[str]:
    """What is imported of test modules."""
    return [name for name in imported(ast.parse(source)) if any(part.startswith("test_") for part in name.split("."))]


def private(source: str) -> list[str]:
    """Private names of the library: imported, spelled in a string as monkeypatch takes them, or asked of an object."""
    tree = ast.parse(source)
    dotted = [*imported(tree), *(node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)
                                 and isinstance(node.value, str))]
    found = [name for name in dotted if name.startswith("lossim.") and " " not in name and any(map(
        is_private, name.split(".")))]
    return found + [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_replace"  # which named tuples have


def test_imports_of_test_modules_are_seen() -> None:
    source = "import tests.logs.test_csv\ndef f():\n    from test_fit import laws\nfrom . import test_trl\nimport os"
    assert borrowed(source) == ["tests.logs.test_csv", ".test_trl", "test_fit.laws"]


def test_private_names_are_seen() -> None:
    source = ("from lossim import _engine, __main__\nimport lossim._model.layout\nfrom lossim.schemes import grpo\n"
              "patch('lossim._logs.chunked.ROWS', 3)\nstep._task\nstep.__dict__\n'lossim._engine is private'")
    assert sorted(private(source)) == ["_task", "lossim._engine", "lossim._logs.chunked.ROWS", "lossim._model.layout"]


def test_no_test_module_imports_another() -> None:
    found = {name(path): borrowed(path.read_text(encoding="utf-8")) for path in sources("test_*.py")}
    assert len(found) > 50
    assert {path: names for path, names in found.items() if names} == {}


def test_private_names_stay_in_a_few_places() -> None:
    """The trainers of tests/peers have private names of their own."""
    found = {name(path): private(path.read_text(encoding="utf-8")) for path in sources("*.py")
             if path.parent.name != "peers" and path != Path(__file__)}
    assert {path: names for path, names in found.items() if names and path not in PRIVATE} == {}
    assert {path for path in PRIVATE if not found[path]} == set()
