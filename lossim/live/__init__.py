"""lossim beside a running trainer: which way length goes now, where that leads, and what would stop it.

``Watch`` takes the responses of each step and answers with the numbers of an audit, by the names in ``METRICS``. The
other ways in are made of it: ``LengthWatch`` for TRL, ``lossim.live.verl`` for verl, ``follow`` for a folder that a run
writes. None of them imports a trainer, and none stops a run.
"""

from lossim.live._folder import Folder
from lossim.live._metrics import METRICS, Metric
from lossim.live._watch import Watch

__all__ = ["METRICS", "Folder", "Metric", "Watch"]
