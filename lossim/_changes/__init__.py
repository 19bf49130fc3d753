"""What would change a drift: one setting of a scheme or its subject at a time, and the values at which nothing drifts.

From below: ``results`` (what both find), ``case`` (a scheme on a subject, a policy or a log, as changes see it),
``settings`` (the changes), ``knobs`` (the numbers to turn), ``roots`` (where the drift is zero), ``on_policy`` (both
verbs on a policy; those on a log are in ``_auditing``), ``shapley`` (mixtures of two schemes, and each slot's share),
``targets`` (where a run ends as it is to), ``attribution`` (the result that has the shares), ``attributing`` (what is
common to policies and logs; on a policy).
"""

from lossim._changes.attributing import Numbers, Setting, attributed, attribution_of_policy, path_of
from lossim._changes.attribution import Attribution, SlotShare
from lossim._changes.case import Case
from lossim._changes.knobs import KNOBS, chosen_knobs
from lossim._changes.on_policy import as_it_is, stops_of_policy, what_if_of_policy
from lossim._changes.results import AS_IT_IS, ONE_AT_A_TIME, Goal, Stop, Stops, WhatIf, WhatIfs
from lossim._changes.roots import found_stops
from lossim._changes.settings import CHANGES, changed
from lossim._changes.shown import UNSURE, changes_rows, turned
from lossim._changes.targets import targets_of_policy

__all__ = ["AS_IT_IS", "CHANGES", "KNOBS", "ONE_AT_A_TIME", "UNSURE", "Attribution", "Case", "Goal", "Numbers",
           "Setting", "SlotShare", "Stop", "Stops", "WhatIf", "WhatIfs", "as_it_is", "attributed",
           "attribution_of_policy", "changed", "changes_rows", "chosen_knobs", "found_stops", "path_of",
           "stops_of_policy", "targets_of_policy", "turned", "what_if_of_policy"]
