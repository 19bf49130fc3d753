"""What schemes do to mean length on a logged run.

From below: ``_log`` (groups and counts), ``_cells`` (the log as a policy), ``_plugin`` (a scheme on the log),
``_breakdown`` (which responses the drift comes from), ``_bootstrap`` (the drift, and its spread over redrawn prompts),
``_knobs`` (other settings), ``_findings`` (the results), ``_audit`` (the front door), ``_plot``.
"""

from lossim._auditing.audit import audit
from lossim._auditing.findings import Audit, Finding, Stop, WhatIf

__all__ = ["Audit", "Finding", "Stop", "WhatIf", "audit"]
