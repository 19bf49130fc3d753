"""What it takes to run a result again, as plain values."""

from __future__ import annotations

import platform
from dataclasses import fields
from importlib.metadata import version
from typing import Any

import numpy as np
import scipy

from lossim._model import Kernel
from lossim.policies import Path, Policy
from lossim.schemes import Scheme

__all__ = ["describe_policy", "describe_rng", "describe_scheme", "versions"]


def describe_scheme(scheme: Scheme) -> dict[str, str | int]:
    """Every slot of a scheme, by name: words and counts as they are, the rest as it prints."""
    def plain(value: object) -> str | int:
        return value if isinstance(value, (str, int)) else repr(value)

    return {slot.name: plain(getattr(scheme, slot.name)) for slot in fields(Scheme)}


def describe_policy(policy: Policy) -> dict[str, Any]:
    """Classes, paths, laws and coordinates of a policy."""
    def path(given: Path) -> dict[str, Any]:
        correct = given.p_correct
        return {"name": given.name, "probability": given.probability, "length": repr(given.length),
                "p_correct": repr(correct) if callable(correct) else np.asarray(correct).tolist(),
                "p_correct_truncated": given.p_correct_truncated}

    return {"max_tokens": policy.max_tokens, "coordinates": _coordinates(policy),
            "classes": [{"name": prompts.name, "weight": prompts.weight, "paths": [path(p) for p in prompts.paths]}
                        for prompts in policy.classes]}


def _coordinates(policy: Policy) -> Any:
    """The constructor call of features, or a kernel's numbers."""
    given = policy.coordinates
    if not isinstance(given, Kernel):
        return repr(given)
    return {name: getattr(given, name).tolist() for name in ("stops", "positions", "paths", "cross")}


def describe_rng(rng: np.random.Generator) -> Any:
    """The state of a generator; set as ``rng.bit_generator.state`` it gives the same numbers again."""
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value

    return plain(dict(rng.bit_generator.state))


def versions() -> dict[str, str]:
    """Versions of what computed the numbers."""
    return {"lossim": version("lossim"), "numpy": np.__version__, "scipy": scipy.__version__,
            "python": platform.python_version()}

