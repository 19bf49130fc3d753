"""The shapings that lossim ships, by name."""

from __future__ import annotations

from lossim.rewards._groups import (
    ALP,
    GR3,
    GroupShaping,
    KimiLength,
    LaserD,
    LengthZScore,
    PassRateLength,
    ShorterBetter,
)
from lossim.rewards._shapings import (
    Cosine,
    Discount,
    Laser,
    LinearPenalty,
    MissingEOS,
    Shaping,
    SoftOverlong,
    StopProperly,
)
from lossim.rewards._targets import LCPOExact, LCPOMax, TargetShaping


def shapings() -> dict[str, type[Shaping | GroupShaping | TargetShaping]]:
    """All shapings by name; their docstrings have the formulas and sources. ``lossim rewards`` prints them.

    >>> shapings()["ALP"](beta=0.0001)
    ALP(beta=0.0001)
    >>> [name for name, kind in shapings().items() if issubclass(kind, TargetShaping)]
    ['LCPOExact', 'LCPOMax']
    """
    every = (LinearPenalty, SoftOverlong, Cosine, Discount, Laser, MissingEOS, StopProperly, KimiLength, LengthZScore,
             ALP, PassRateLength, LaserD, ShorterBetter, GR3, LCPOExact, LCPOMax)
    return {shaping.__name__: shaping for shaping in every}
