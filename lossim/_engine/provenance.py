"""What it takes to run a result again, as plain values."""

from __future__ import annotations

import platform
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy

from lossim._model import Kernel
from lossim._support.plain import plain
from lossim.policies import Path, Policy
from lossim.schemes import Scheme

__all__ = ["describe_policy", "describe_rng", "describe_scheme", "versions"]


def describe_scheme(scheme: Scheme) -> dict[str, str | int]:
    """Every slot of a scheme, by name: words and counts as they are, the rest as it prints."""
    described: dict[str, str | int] = {}
    for slot in fields(Scheme):
        value = getattr(scheme, slot.name)
        described[slot.name] = value if isinstance(value, (str, int)) else repr(value)
    return described


def describe_policy(policy: Policy) -> dict[str, Any]:
    """Classes, paths, laws and coordinates of a policy."""
    classes = [{"name": prompts.name, "weight": prompts.weight, "paths": [_path(path) for path in prompts.paths]}
               for prompts in policy.classes]
    return {"max_tokens": policy.max_tokens, "coordinates": _coordinates(policy), "classes": classes}


def _path(path: Path) -> dict[str, Any]:
    """The arguments of a path; functions and laws as they print."""
    correct = path.p_correct
    return {"name": path.name, "probability": path.probability, "length": repr(path.length),
            "p_correct": repr(correct) if callable(correct) else np.asarray(correct).tolist(),
            "p_correct_truncated": path.p_correct_truncated}


def _coordinates(policy: Policy) -> Any:
    """The constructor call of features, or a kernel's numbers."""
    given = policy.coordinates
    if not isinstance(given, Kernel):
        return repr(given)
    return {name: getattr(given, name).tolist() for name in ("stops", "positions", "paths", "cross")}


def describe_rng(rng: np.random.Generator) -> Any:
    """The state of a generator; set as ``rng.bit_generator.state`` it gives the same numbers again."""
    return plain(dict(rng.bit_generator.state))


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    return {"lossim": version("lossim"), "numpy": np.__version__, "scipy": scipy.__version__,
            "python": platform.python_version()}

