"""What a response is paid: a reward for the grade, and shapings that make it depend on the length.

A shaping is any callable ``(reward, length, outcome) -> reward`` over arrays of one shape; ``outcome`` holds the
codes of `Outcome`, and a truncated response is ``TRUNCATED`` whatever its grade. A `GroupShaping` compares the
responses of one group, a `TargetShaping` knows the target of the prompt. This is the task reward: a KL penalty in the
reward belongs to `penalties`.

>>> reward = Reward(incorrect=-1.0, shaping=LinearPenalty(slope=0.001, free=500))
>>> reward.values([400, 900], [True, False], [False, True])
array([ 1. , -1.4])
"""

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
from lossim.rewards._reward import AsLogged, Reward
from lossim.rewards._reward import applied as applied  # for the library's own rooms
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
from lossim.rewards._shipped import shapings
from lossim.rewards._targets import LCPOExact, LCPOMax, TargetShaping

__all__ = ["ALP", "GR3", "AsLogged", "Cosine", "Discount", "GroupShaping", "KimiLength", "LCPOExact", "LCPOMax",
           "Laser", "LaserD", "LengthZScore", "LinearPenalty", "MissingEOS", "PassRateLength", "Reward", "Shaping",
           "ShorterBetter", "SoftOverlong", "StopProperly", "TargetShaping", "shapings"]
