"""The reference: a page for lossim and one for each public module, with every public object on one of them."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import Any

import lossim

INTRODUCTION = """\
Every public object, from its docstring; the examples run in every build. ``import lossim as ls`` gives all of it.
"""
GROUPS = {
    "Questions": ("drift", "length_drift", "what_if", "stops", "attribute", "survey", "sweep", "train", "forecast",
                  "audit", "fit", "pace", "compare", "read_config"),
    "A policy and a scheme": ("Policy", "PromptClass", "Path", "Work", "Scheme", "Reward", "coordinates", "kernel",
                              "kernels", "Kernels", "log_range"),
    "A log": ("Rollouts", "Curves", "ParsedConfig"),
}
"""The objects of lossim itself under headings, in this order; what is in none is among the answers."""


def escaped(line: str) -> str:
    """A line of a docstring with |x| and x_ as they stand: in reStructuredText both mean something else."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    pieces = re.split(r"(``.*?``|`[^`]+`)", line)
    return "".join(piece if piece.startswith("`") else re.sub(r"\||(?<=\w)_(?!\w)", r"\\\g<0>", piece)
                   for piece in pieces)


def section(heading: str, body: list[str]) -> list[str]:
    """A section of a docstring as a field: a list where it names what it is about, else words."""
    if heading in ("Returns", "References"):
        return [f":{heading}:", *body]
    items = [re.sub(r"^    (\S[^:]*): ", name_in_bold, line) for line in body]
    return [f":{heading}:", *(line if line.startswith("    - ") else line[2:] for line in items)]


def name_in_bold(found: re.Match[str]) -> str:
    """The start of an item: what it is about."""
    return f"    - **{found[1].replace('*', chr(92) + '*')}** – "


def sections(lines: list[str]) -> list[str]:
    """A docstring with its sections, from ``Args:`` to ``References:``, as fields."""
    done: list[str] = []
    body: list[str] = []
    heading = ""
    for line in [*lines, "end"]:
        if heading and line and not line.startswith("    "):
            done += section(heading, body)
            heading, body = "", []
        found = re.fullmatch(r"(Args|Attributes|Raises|Returns|References):", line)
        if found:
            heading = found[1].replace("Args", "Arguments")
        elif heading:
            body.append(line)
        else:
            done.append(line)
    return done[:-1]


def first_line(value: Any) -> str:
    """The first paragraph of a docstring, as a line."""
    return escaped(" ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split()))


def in_a_line(value: Any) -> str:
    """What an object is, in the table of them all."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return first_line(value)
    if isinstance(value, lossim.references.Reference):
        return str(value)
    if isinstance(value, dict):
        return f"By name: {', '.join(f'``{name}``' for name in value)}."
    return f"All {len(value)} of them." if isinstance(value, tuple) else f"``{value}``"


def modules() -> dict[str, ModuleType]:
    """The public modules, by name."""
    found = {name: getattr(lossim, name) for name in lossim.__all__}
    return {f"lossim.{name}": value for name, value in found.items() if inspect.ismodule(value)}


def places() -> dict[str, tuple[str, Any]]:
    """Every public name with the one under which its object is documented, the shortest, and the object."""
    own = {f"lossim.{name}": getattr(lossim, name) for name in lossim.__all__ if f"lossim.{name}" not in modules()}
    names = own | {f"{module}.{name}": getattr(value, name)
                   for module, value in modules().items() for name in value.__all__}
    first: dict[int, str] = {}
    for name, value in names.items():
        if inspect.isclass(value) or inspect.isroutine(value):
            first.setdefault(id(value), name)
    return {name: (first.get(id(value), name), value) for name, value in names.items()}


def title(text: str, line: str = "=") -> list[str]:
    """A heading."""
    return [text, line * len(text), ""]


def entry(name: str, at: str, value: Any, inherited: bool = False) -> list[str]:
    """What Sphinx is told of one object: to take its docstring, or where else it stands."""
    if name != at:
        return [f"``{name.rpartition('.')[2]}``", f"    The same as :py:obj:`{at}`.", ""]
    if inspect.isclass(value):
        more = ["    :inherited-members: object, BaseException, Enum, int, tuple"] if inherited else []
        return [f".. autoclass:: {name}", *more, ""]
    if inspect.isroutine(value):
        return [f".. autofunction:: {name}", ""]
    return [f".. py:data:: {name.rpartition('.')[2]}", "", f"    {in_a_line(value)}", ""]


def module_page(name: str) -> str:
    """The page of a public module."""
    entries = [line for each, (at, value) in places().items() if each.rpartition(".")[0] == name
               for line in entry(each, at, value)]
    return "\n".join([*title(name.removeprefix("lossim.")), f".. automodule:: {name}", "    :no-members:", "",
                      f".. py:currentmodule:: {name}", "", *entries])


def own_page() -> str:
    """The page of lossim itself."""
    own = {name.removeprefix("lossim."): value for name, (_, value) in places().items() if name.count(".") == 1}
    grouped = {name for names in GROUPS.values() for name in names}
    groups = GROUPS | {"Answers": tuple(name for name in own if name not in grouped)}
    lines = [*title("lossim"), ".. automodule:: lossim", "    :no-members:", "", ".. py:currentmodule:: lossim", ""]
    for heading, names in groups.items():
        lines += title(heading, "-")
        for name in names:
            lines += entry(f"lossim.{name}", f"lossim.{name}", own[name], inherited=True)
    return "\n".join(lines)


def contents() -> str:
    """The first page: every object with its first line."""
    lines = [*title("Reference"), INTRODUCTION, ".. toctree::", "    :hidden:", "", "    lossim",
             *(f"    {name.removeprefix('lossim.')}" for name in sorted(modules())), ""]
    by_page: dict[str, list[tuple[str, str, Any]]] = {}
    for name, (at, value) in places().items():
        by_page.setdefault(name.rpartition(".")[0], []).append((name, at, value))
    for page, names in by_page.items():
        about = [first_line(modules()[page]), ""] if page in modules() else []
        lines += [*title(page, "-"), f".. py:currentmodule:: {page}", "", *about,
                  ".. list-table::", "    :widths: 30 70", ""]
        lines += [line for name, at, value in names
                  for line in (f"    * - :py:obj:`{name.rpartition('.')[2]} <{at}>`", f"      - {in_a_line(value)}")]
        lines.append("")
    return "\n".join(lines)


def reference() -> dict[str, str]:
    """All pages of the reference, by their name on the site."""
    pages = {f"reference/{name.removeprefix('lossim.')}.rst": module_page(name) for name in modules()}
    return {"reference/index.rst": contents(), "reference/lossim.rst": own_page()} | pages
