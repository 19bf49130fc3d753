"""Where a config comes from: a mapping, a YAML or JSON file, overrides or a command line; in the end one flat dict."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from lossim._support import checks
from lossim.configs import _openrlhf_keys, _verl_keys
from lossim.configs._parsed import DEEPEST


def read(source: Any, trainer: str) -> tuple[dict[str, Any], bool]:
    """A flat config, and whether its values have types of their own."""
    mark, words = COMMAND_LINES.get(trainer, (None, None))
    if type(source).__module__.startswith("omegaconf."):
        source = import_module("omegaconf").OmegaConf.to_container(source)  # read as it is, it trips over ???
    if isinstance(source, str) and mark is not None and mark in source and not os.path.isfile(source):
        try:
            source = shlex.split(re.sub(r"\\\r?\n", " ", source), comments=True)
        except ValueError as problem:
            raise ValueError(f"source must be a command line with balanced quotes, got {source[:60]!r}...: {problem}"
                             ) from problem
    if isinstance(source, (str, os.PathLike)):
        source = _from_file(source)
    if isinstance(source, Mapping):
        given = _flat(source, nested=trainer != "trl")
        bare = {key.removeprefix("--"): value for key, value in given.items()}
        if trainer != "openrlhf":
            return given, True
        if len(bare) < len(given):
            checks.fail("source", list(given), "must give a flag once, with or without dashes")
        return bare, True
    if words is None or not isinstance(source, Sequence) or isinstance(source, (bytes, bytearray)):
        checks.fail("source", source, "must be a mapping or the path of a file",
                    "of a dataclass pass dataclasses.asdict(config)", TypeError)
    return words([checks.text(f"source[{i}]", word) for i, word in enumerate(source)]), trainer != "openrlhf"


def _from_file(path: str | os.PathLike[str]) -> Mapping[str, Any]:
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
    if not isinstance(loaded, Mapping):
        held = "is empty" if loaded is None else f"holds a {type(loaded).__name__}"
        checks.fail("source", str(path), f"must name a file that holds a mapping, and this one {held}")
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


def _flat(mapping: Mapping[Any, Any], *, nested: bool = True, prefix: str = "", depth: int = 0) -> dict[str, Any]:
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
        inside = _flat(value, prefix=name + ".", depth=depth + 1) if deeper else {name: value}
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


def _after(module: str, words: list[str]) -> list[str]:
    """The words behind the name of the program, all of them if it is not named."""
    at = [i for i, word in enumerate(words) if word.removesuffix(".py").replace("/", ".").endswith(module)]
    return words[at[0] + 1:] if at else words


def _without_shell(name: str, value: str) -> str:
    """The value of a setting that counts, unless it has a shell variable in it."""
    if re.search(r"\$(?!\{)|\$\{[A-Za-z_]\w*\}|`", value):
        checks.fail(name, value, "must not hold a shell variable, which only the shell knows", "write the value out")
    return value


def _flags(words: list[str]) -> dict[str, Any]:
    """OpenRLHF's flags: the word behind each, or the words, or True where there is none.

    Of a flag given twice the last counts, as in argparse.
    """
    found: dict[str, Any] = {}
    name = ""
    for word in _after("openrlhf.cli.train_ppo_ray", words):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name] = [value] if equals else []
        elif name:
            found[name].append(word)
        else:
            checks.fail("source", word, "must begin with a flag, or name openrlhf.cli.train_ppo_ray before the flags")
    for name, values in found.items():
        kind = _openrlhf_keys.TABLE.get(name)
        if kind is not None:
            for value in values:
                _without_shell(name, value)
            if kind.of == "flag" and values:
                checks.fail(name, values, "must be given without a value")
            if kind.of not in ("flag", "pair", "any") and len(values) != 1:
                checks.fail(name, values, "must be given with one value")
        found[name] = values[0] if len(values) == 1 else values or True
    return found


COMPOSED = ("ppo_trainer", "ppo_megatron_trainer", "_self_")
"""Configs of verl whose defaults are known."""


def _overrides(words: list[str]) -> dict[str, Any]:
    """Hydra's overrides, of verl; of a key given twice the last counts, as there."""
    found: dict[str, Any] = {}
    rest = iter(_after("verl.trainer.main_ppo", words))
    for word in rest:
        key, equals, value = word.partition("=")
        if key in ("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"):
            value = value or next(rest, "")
            if key in ("--config-name", "-cn") and value not in COMPOSED:
                checks.fail("--config-name", value, "must be ppo_trainer or ppo_megatron_trainer, of which lossim "
                            "knows the defaults", "pass the composed config (print it by --cfg job)")
            continue
        if not equals or not re.fullmatch(r"\+{0,2}[A-Za-z_][\w.@/-]*", key):
            checks.fail("source", word, "must hold overrides, key=value")
        key = key.lstrip("+")
        found[key] = _scalar(_without_shell(key, value) if key in _verl_keys.TABLE else value)
    return found


COMMAND_LINES = {"verl": ("=", _overrides), "openrlhf": ("--", _flags)}
"""What a command line has in it, and how its words are read."""


def _scalar(value: str) -> Any:
    """What Hydra makes of the text behind ``=``: null, a boolean, a number, a list, or text."""
    stripped = value.strip()
    constants = {"null": None, "true": True, "false": False}
    if stripped.lower() in constants:
        return constants[stripped.lower()]
    if len(stripped) > 1 and stripped[0] == stripped[-1] and stripped[0] in "'\"":
        return stripped[1:-1]
    if stripped.startswith("[") and stripped.endswith("]"):
        inner = stripped[1:-1].strip()
        return [_scalar(entry) for entry in inner.split(",")] if inner else []
    if re.fullmatch(r"[+-]?\d+(_\d+)*", stripped):
        return int(stripped)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", stripped):
        return float(stripped)
    return stripped


def composed(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config of verl with references followed, unless it takes settings from other files than verl's own."""
    defaults = config.get("defaults")
    for entry in defaults if isinstance(defaults, list) else [defaults]:
        if defaults is not None and entry not in COMPOSED:
            checks.fail("defaults", entry, "must not compose other files, which are not read",
                        "pass the composed config (print it by --cfg job)")
    return {key: _resolved(key, value, config) if key in _verl_keys.TABLE else value for key, value in config.items()}


def _resolved(key: str, value: Any, given: Mapping[str, Any], depth: int = 0) -> Any:
    """The value, with a reference to another key followed."""
    if value == "???":
        checks.fail(key, value, "must be given; ??? stands for what is missing")
    if not isinstance(value, str) or "${" not in value:
        return value
    match = re.fullmatch(r"\$\{(?:oc\.select:\s*)?(\.*[\w.]+)\s*(?:,\s*([^${}]*))?\}", value)
    if match is None or depth > DEEPEST or (match[2] is not None and "oc.select" not in value):
        checks.fail(key, value, "must be a value, or name another key as ${a.b} does", "write the value out")
    name, fallback = match[1], match[2]
    if name.startswith("."):
        up = len(name) - len(name.lstrip("."))
        name = ".".join([*key.split(".")[:-up], name.lstrip(".")])
    if name in given:
        return _resolved(name, given[name], given, depth + 1)
    if fallback is not None:
        return _scalar(fallback)
    if name in _verl_keys.TABLE:
        return _verl_keys.TABLE[name].default
    checks.fail(key, value, f"names {name}, which the config does not give", "write the value out")
