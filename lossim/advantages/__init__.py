"""Advantage estimators: what each response's tokens are credited with.

A response-level estimator gives one advantage per response, from the returns of its group. GAE gives one per token,
from a critic that is data. Whitening is over the tokens of a step.
"""

from lossim.advantages._response import (
    GPG,
    OPO,
    Advantage,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    MaxRL,
    PassK,
    PositiveOnly,
    Raw,
    ResponseAdvantage,
)
from lossim.advantages._token import GAE, LengthAdaptive, ReturnToGo, Whitened

__all__ = ["GAE", "GPG", "OPO", "Advantage", "GroupMean", "GroupStandardized", "LeaveOneOut", "LengthAdaptive", "MaxRL",
           "PassK", "PositiveOnly", "Raw", "ResponseAdvantage", "ReturnToGo", "Whitened"]
