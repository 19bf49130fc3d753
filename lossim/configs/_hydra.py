"""Hydra, as far as a config of verl needs it: overrides on a command line, and references between keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from lossim._support import checks
from lossim.configs import _source
from lossim.configs._verl_keys import TABLE

__all__ = ["check_composed", "overrides", "resolved"]

COMPOSED = ("ppo_trainer", "ppo_megatron_trainer", "_self_")
"""Configs whose defaults are known."""


def overrides(tokens: Sequence[str]) -> dict[str, Any]:
    """Hydra's overrides as a flat dict; of a key given twice the last counts, as there."""
    found: dict[str, Any] = {}
    rest = iter(_source.after_module(tokens, ("verl.trainer.main_ppo",)))
    for token in rest:
        if token.startswith("-"):
            name, _, value = token.partition("=")
            if name in ("--config-name", "-cn", "--config-path", "-cp", "--config-dir", "-cd"):
                value = value or next(rest, "")
                if name in ("--config-name", "-cn") and value not in COMPOSED:
                    checks.fail("--config-name", value, "must be ppo_trainer or ppo_megatron_trainer, of which lossim "
                                "knows the defaults", "pass the composed config (print it by --cfg job)")
                continue
            checks.fail("source", token, "must hold overrides, key=value")
        key, equals, value = token.partition("=")
        if not equals or not re.fullmatch(r"\+{0,2}[A-Za-z_][\w.@/-]*", key):
            checks.fail("source", token, "must hold overrides, key=value")
        key = key.lstrip("+")
        found[key] = _source.scalar(_source.no_shell(key, value) if key in TABLE else value)
    return found


def check_composed(entries: Any) -> None:
    """Refuse a ``defaults`` list that takes settings from other files than verl's own."""
    if entries is None:
        return
    for entry in entries if isinstance(entries, list) else [entries]:
        if entry not in COMPOSED:
            checks.fail("defaults", entry, "must not compose other files, which are not read",
                        "pass the composed config (print it by --cfg job)")


def resolved(key: str, value: Any, given: Mapping[str, Any], depth: int = 0) -> Any:
    """The value, with a reference to another key followed."""
    if value == "???":
        checks.fail(key, value, "must be given; ??? stands for what is missing")
    if not isinstance(value, str) or "${" not in value:
        return value
    match = re.fullmatch(r"\$\{(?:oc\.select:\s*)?(\.*[\w.]+)\s*(?:,\s*([^${}]*))?\}", value)
    if match is None or depth > _source.DEEPEST or (match[2] is not None and "oc.select" not in value):
        checks.fail(key, value, "must be a value, or name another key as ${a.b} does", "write the value out")
    name, fallback = match[1], match[2]
    if name.startswith("."):
        up = len(name) - len(name.lstrip("."))
        name = ".".join([*key.split(".")[:-up], name.lstrip(".")])
    if name in given:
        return resolved(name, given[name], given, depth + 1)
    if fallback is not None:
        return _source.scalar(fallback)
    if name in TABLE:
        return TABLE[name].default
    checks.fail(key, value, f"names {name}, which the config does not give", "write the value out")
