"""What schemes do to mean length on a logged run.

From below: ``slabs`` and ``log`` (whole groups, and counts), ``by_path`` (paths that it names, over the steps),
``cells`` (a log as a policy), ``findings`` (the results) and ``words`` (their tables), ``plugin`` (a scheme on the
log), ``breakdown`` (which responses the drift comes from), ``bootstrap`` (the drift, and its spread over redrawn
prompts), ``settings`` (other ones, and those without a drift), ``audit`` (the front door).
"""

from lossim._auditing.audit import audit
from lossim._auditing.findings import Audit, Finding, Stop, WhatIf

__all__ = ["Audit", "Finding", "Stop", "WhatIf", "audit"]
