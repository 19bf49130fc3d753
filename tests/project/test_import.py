"""What `import lossim` costs and what the installed package promises."""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import lossim

PACKAGE = Path(lossim.__file__).parent
HEAVY = ("matplotlib", "PIL", "pandas", "pyarrow", "torch", "IPython", "hypothesis", "pytest")
RUN_TIME = {"numpy", "scipy", "matplotlib"}


def top_level_modules_after(statement: str) -> set[str]:
    """Names of the top-level modules a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def runtime_imports(tree: ast.AST) -> set[str]:
    """Top-level names of what loading a module imports: not inside functions, not for typing only."""
    found: set[str] = set()
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
        pending.extend(ast.iter_child_nodes(node))
    return found


def test_import_by_itself_loads_no_library() -> None:
    """It waits until something of lossim is asked for, and the page of all commands asks for nothing."""
    bare = top_level_modules_after("pass")
    assert top_level_modules_after("import lossim") - bare <= set(sys.stdlib_module_names) | {"lossim"}
    page = top_level_modules_after("from lossim.__main__ import main; main(['--help']); main(['--version'])")
    assert not page & {"numpy", "scipy", *HEAVY}


def test_import_loads_nothing_heavy() -> None:
    loaded = top_level_modules_after("import lossim; lossim.drift")
    assert {"lossim", "numpy"} <= loaded
    assert not loaded & set(HEAVY)


def test_import_prints_and_warns_nothing() -> None:
    command = [sys.executable, "-W", "error", "-c", "import lossim"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_runtime_imports_sees_what_it_should() -> None:
    source = """
import os.path
from numpy import linalg
if TYPE_CHECKING:
    import pandas
else:
    import json
class A:
    import csv
    def f(self):
        import matplotlib
try:
    import torch
except ImportError:
    pass
"""
    assert runtime_imports(ast.parse(source)) == {"os", "numpy", "json", "csv", "torch"}


def test_modules_need_only_numpy_and_scipy_to_load() -> None:
    allowed = set(sys.stdlib_module_names) | {"lossim", "numpy", "scipy"}
    needed = {str(path.relative_to(PACKAGE)): runtime_imports(ast.parse(path.read_text(encoding="utf-8")))
              for path in PACKAGE.rglob("*.py")}
    assert {name: modules - allowed for name, modules in needed.items() if modules - allowed} == {}
    assert len(needed) > 200


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


def public_objects() -> list[tuple[str, Any]]:
    """Everything public under its dotted name: what lossim and its public modules offer."""
    found: dict[int, tuple[str, Any]] = {}
    for name in lossim.__all__:
        value = getattr(lossim, name)
        if name.startswith("__"):  # __version__ is a string
            continue
        found.setdefault(id(value), (name, value))
        if inspect.ismodule(value):
            for inner in value.__all__:
                found.setdefault(id(getattr(value, inner)), (f"{name}.{inner}", getattr(value, inner)))
    return list(found.values())


def undocumented(name: str, value: Any) -> list[str]:
    """Dotted names of what lacks a docstring: the object itself and, of a class, its public methods.

    A class needs one of its own, and the signature that a dataclass writes for itself is none. A method may
    inherit the docstring of what it overrides.
    """
    if not (inspect.ismodule(value) or inspect.isclass(value) or inspect.isroutine(value)):
        return []  # constants and type aliases have nowhere to keep one
    if not inspect.isclass(value):
        return [] if inspect.getdoc(value) else [name]
    own = value.__dict__.get("__doc__") or ""
    missing = [name] if not own or own.startswith(f"{value.__name__}(") else []
    for member_name, member in vars(value).items():
        is_code = inspect.isroutine(member) or isinstance(member, property | functools.cached_property)
        if not is_code or member_name.startswith("_"):
            continue
        if not any(getattr(vars(base).get(member_name), "__doc__", None) for base in value.__mro__):
            missing.append(f"{name}.{member_name}")
    return missing


def test_undocumented_sees_what_it_should() -> None:
    class Base:
        """A base."""

        def move(self) -> None:
            """Move."""

    @dataclasses.dataclass
    class Child(Base):
        x: int = 0

        def move(self) -> None: ...
        def rest(self) -> None: ...
        @property
        def size(self) -> int: ...
        @functools.cached_property
        def shape(self) -> int: ...

    assert undocumented("Child", Child) == ["Child", "Child.rest", "Child.size", "Child.shape"]
    assert undocumented("f", lambda: 0) == ["f"]
    assert undocumented("Base", Base) == []


def test_every_public_name_exists_and_is_documented() -> None:
    assert lossim.__all__
    assert len(set(lossim.__all__)) == len(lossim.__all__)
    assert [gap for name, value in public_objects() for gap in undocumented(name, value)] == []


def test_public_names_are_offered_by_dir() -> None:
    assert set(lossim.__all__) <= set(dir(lossim))


def test_run_time_dependencies_are_exactly_three() -> None:
    requirements = importlib.metadata.requires("lossim") or []
    names = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in requirements if "extra ==" not in line}
    assert names == RUN_TIME


def test_metadata_version_and_python() -> None:
    metadata = importlib.metadata.metadata("lossim")
    assert metadata["Requires-Python"] == ">=3.11"
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["Version"])
    if hasattr(lossim, "__version__"):
        assert lossim.__version__ == metadata["Version"]
