"""Advantage estimators: what each response's tokens are credited with.

A response-level estimator gives one advantage per response, from the returns of its group. GAE gives one per token,
from a critic that is data. Whitening is over the tokens of a step.
"""

from lossim.advantages._base import Advantage, Group, group_of
from lossim.advantages._response import (
    GPG,
    OPO,
    GroupMean,
    LeaveOneOut,
    MaxRL,
    PassK,
    PositiveOnly,
    Raw,
    ResponseAdvantage,
    Traits,
)
from lossim.advantages._standardized import GroupStandardized, LeaveOneOutStandardized
from lossim.advantages._token import GAE, LengthAdaptive, ReturnToGo, Whitened

__all__ = ["GAE", "GPG", "OPO", "Advantage", "Group", "GroupMean", "GroupStandardized", "LeaveOneOut",
           "LeaveOneOutStandardized", "LengthAdaptive", "MaxRL", "PassK", "PositiveOnly", "Raw", "ResponseAdvantage",
           "ReturnToGo", "Traits", "Whitened", "group_of"]
