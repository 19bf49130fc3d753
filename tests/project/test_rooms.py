"""Where tests stand: what several of them need is in tests/shared, and none imports another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MODULES = sorted(TESTS.rglob("test_*.py"))


def imported(source: str) -> Iterator[str]:
    """Dotted names of everything that a module imports, at its top or inside of functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def borrowed(source: str) -> list[str]:
    return [name for name in imported(source) if any(part.startswith("test_") for part in name.split("."))]


def test_imports_of_test_modules_are_seen() -> None:
    source = "import tests.logs.test_csv\ndef f():\n    from test_fit import laws\nfrom . import test_trl\nimport os"
    assert borrowed(source) == ["tests.logs.test_csv", ".test_trl", "test_fit.laws"]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_module_imports_another(path: Path) -> None:
    assert borrowed(path.read_text(encoding="utf-8")) == []
