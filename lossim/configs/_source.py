"""Where a config comes from: a mapping, a YAML or JSON file, overrides or a command line; in the end one flat dict."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lossim._support import checks

__all__ = ["flat", "from_file", "scalar", "words"]

DEEPEST = 60  # levels of a nested config; more is one that holds itself


def from_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The mapping in a file, whose ending says what it is written in."""
    file = Path(path)
    load = LOADERS.get(file.suffix.lower())
    if load is None:
        checks.fail("source", str(path), "must be a mapping, or name a .yaml, .yml or .json file",
                    "read the file and pass what it holds")
    try:
        loaded = load(file.read_text(encoding="utf-8-sig"), file)
    except FileNotFoundError:
        checks.fail("source", str(path), "must name a file that exists", error=FileNotFoundError)
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"source must name a text file in UTF-8 that can be read, got {str(path)!r}: {problem}"
                         ) from problem
    except RecursionError:
        checks.fail("source", str(file), f"must be nested no deeper than {DEEPEST} levels")
    if loaded is None:
        checks.fail("source", str(path), "must name a file that holds a mapping, and this one is empty")
    if not isinstance(loaded, Mapping):
        checks.fail("source", str(path), f"must name a file that holds a mapping, and this one holds a "
                    f"{type(loaded).__name__}")
    return loaded


def _json(content: str, file: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                checks.fail(key, str(file), "must be given once in a mapping (the file is shown)")
            found[key] = value
        return found

    try:
        return json.loads(content, object_pairs_hook=unique) if content.strip() else None
    except json.JSONDecodeError as problem:
        raise ValueError(f"{file} must be JSON: {problem}") from problem


def _yaml(content: str, file: Path) -> Any:
    try:
        import yaml
    except ImportError as missing:
        raise ImportError(f"reading {file} needs pyyaml: pip install 'lossim[configs]', or pass a mapping or a JSON "
                          "file") from missing

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice, of which YAML would keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                    continue
                if key_node.value in seen:
                    checks.fail(key_node.value, str(file), f"must be given once in a mapping, and is given again in "
                                f"line {key_node.start_mark.line + 1} (the file is shown)")
                seen.add(key_node.value)
            made: dict[Any, Any] = super().construct_mapping(node, deep)
            return made

    try:
        return yaml.load(content, Loader)
    except yaml.YAMLError as problem:
        raise ValueError(f"{file} must be YAML, indented by spaces: {problem}") from problem


LOADERS = {".yaml": _yaml, ".yml": _yaml, ".json": _json}


def flat(mapping: Mapping[Any, Any], *, nested: bool = True, prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """A mapping with dotted keys: ``{"a": {"b": 1}}`` and ``{"a.b": 1}`` are the same."""
    if depth > DEEPEST:
        checks.fail(prefix.rstrip("."), "...", f"must be nested no deeper than {DEEPEST} levels")
    found: dict[str, Any] = {}
    for key, value in mapping.items():
        if not isinstance(key, str) or not key:
            checks.fail(f"a key{f' of {prefix[:-1]}' if prefix else ''}", key, "must be text",
                        "YAML takes on, off, yes and no for booleans; quote them", TypeError)
        name = prefix + key
        deeper = nested and isinstance(value, Mapping) and len(value)
        inside = flat(value, prefix=name + ".", depth=depth + 1) if deeper else {name: value}
        for full, entry in inside.items():
            if full in found:
                checks.fail(full, entry, "must be given once, nested or dotted")
            found[full] = entry
    for name in found:
        part = name.rpartition(".")[0]
        while part:
            if part in found:
                checks.fail(part, found[part], f"cannot be a value, since {name} is given too")
            part = part.rpartition(".")[0]
    return found


def words(line: str) -> list[str]:
    """The words of a command line, with its continued lines joined; shell variables stay as they are."""
    try:
        found = shlex.split(re.sub(r"\\\r?\n", " ", line), comments=True)
    except ValueError as problem:
        raise ValueError(f"source must be a command line with balanced quotes, got {line[:60]!r}...: {problem}"
                         ) from problem
    return found


def after_module(tokens: Sequence[Any], modules: tuple[str, ...]) -> list[str]:
    """The words behind the name of the program, all of them if it is not named."""
    found = [checks.text(f"source[{i}]", token) for i, token in enumerate(tokens)]
    at = [i for i, token in enumerate(found) if token.removesuffix(".py").replace("/", ".").endswith(modules)]
    return found[at[0] + 1:] if at else found


def no_shell(name: str, value: str) -> str:
    """The value of a setting that counts, unless it has a shell variable in it."""
    if re.search(r"\$(?!\{)|\$\{[A-Za-z_]\w*\}|`", value):
        checks.fail(name, value, "must not hold a shell variable, which only the shell knows", "write the value out")
    return value


def scalar(value: str) -> Any:
    """What Hydra makes of the text behind ``=``: null, a boolean, a number, a list, or text."""
    stripped = value.strip()
    if stripped.lower() in ("null", "true", "false"):
        return {"null": None, "true": True, "false": False}[stripped.lower()]
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        return stripped[1:-1]
    if stripped.startswith("[") and stripped.endswith("]"):
        inner = stripped[1:-1].strip()
        return [scalar(entry) for entry in inner.split(",")] if inner else []
    if re.fullmatch(r"[+-]?\d+(_\d+)*", stripped):
        return int(stripped)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", stripped):
        return float(stripped)
    return stripped
