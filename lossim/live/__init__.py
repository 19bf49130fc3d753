"""lossim beside a running trainer: which way length goes now, where that leads, and what would stop it.

``Watch`` takes the responses of each step and answers with the numbers of an audit, by the names in ``METRICS``. The
other ways in are made of it: ``LengthWatch`` for TRL, ``lossim.live.verl`` for verl, ``Folder`` for a folder that a run
writes, which is also the command ``lossim watch``. None of them imports a trainer, and none stops a run.
"""

from lossim.live._folder import Folder
from lossim.live._metrics import METRICS, Metric
from lossim.live._trl import LengthWatch
from lossim.live._watch import Watch

__all__ = ["METRICS", "Folder", "LengthWatch", "Metric", "Watch"]
