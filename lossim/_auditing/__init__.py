"""What schemes do to mean length on a logged run.

From below: ``slab`` (some whole groups), ``log`` (all of them, and counts), ``stack`` (several logs as one policy),
``cells`` (a log as a policy), ``plugin`` (a scheme on the log), ``reading`` (its measures), ``breakdown`` (which
responses the drift comes from), ``bootstrap`` (the drift, and its spread over redrawn prompts), ``settings`` (other
ones) and ``stops`` (those without a drift), ``findings`` and ``tables`` (the results), ``audit`` (the front door).
"""

from lossim._auditing.audit import audit
from lossim._auditing.findings import Audit, Finding, Stop, WhatIf

__all__ = ["Audit", "Finding", "Stop", "WhatIf", "audit"]
