"""The shapings that lossim ships, by name."""

from __future__ import annotations

from inspect import isabstract

from lossim.rewards import _groups, _shapings, _targets
from lossim.rewards._groups import GroupShaping
from lossim.rewards._shapings import Shaping
from lossim.rewards._targets import TargetShaping


def shapings() -> dict[str, type[Shaping | GroupShaping | TargetShaping]]:
    """All shapings by name; their docstrings have the formulas and sources. ``lossim rewards`` prints them.

    >>> shapings()["ALP"](beta=0.0001)
    ALP(beta=0.0001)
    >>> [name for name, kind in shapings().items() if issubclass(kind, TargetShaping)]
    ['LCPOExact', 'LCPOMax']
    """
    every = (kind for module in (_shapings, _groups, _targets) for kind in vars(module).values())
    return {kind.__name__: kind for kind in every if isinstance(kind, type)
            and issubclass(kind, (Shaping, GroupShaping, TargetShaping)) and not isabstract(kind)}
