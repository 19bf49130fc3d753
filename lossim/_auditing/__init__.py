"""What schemes do to mean length on a logged run.

From below: ``slabs`` and ``log`` (whole groups, and counts), ``by_path`` (paths that it names, over the steps),
``cells`` (a log as a policy), ``findings`` (the results) and ``words`` (their tables), ``plugin`` (a scheme on the
log), ``breakdown`` (which responses the drift comes from), ``bootstrap`` (the drift, and its spread over redrawn
prompts), ``on_log`` (a scheme on a log as changes see it), ``settings`` (other ones, and those without a drift),
``asked`` (the question, checked), ``verbs`` and ``audit`` (the front doors).
"""

from lossim._auditing.attributing import attribution_of_log
from lossim._auditing.audit import audit
from lossim._auditing.findings import Audit, Finding
from lossim._auditing.verbs import stops_of_log, what_if_of_log

__all__ = ["Audit", "Finding", "attribution_of_log", "audit", "stops_of_log", "what_if_of_log"]
