"""Questions asked over what nobody knows: which way length goes, how sure that is, and which unknown decides."""

from lossim._surveying.questions import CRITICS
from lossim._surveying.result import Share, Survey
from lossim._surveying.survey import survey
from lossim._surveying.unknowns import log_range

__all__ = ["CRITICS", "Share", "Survey", "log_range", "survey"]
