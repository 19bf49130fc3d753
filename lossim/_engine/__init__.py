"""What one step of a scheme does to a policy: the expectation, samples, and what is read off them."""

from lossim._engine.changes import Changes, Ratios
from lossim._engine.credit import Credit, Groups, credit, group_credit
from lossim._engine.drift import at_pace, check_alike, drift, first_step_doubts
from lossim._engine.effective import effective_reward
from lossim._engine.exact import expected_measures, share_of_dead_groups
from lossim._engine.gae import entry_advantage
from lossim._engine.gae_moments import advantage_sums_of
from lossim._engine.gradients import TERMS, update_gradient
from lossim._engine.headline import Headline, headline, headline_of
from lossim._engine.headlines import headlines
from lossim._engine.length_drift import LengthDrift, length_drift, length_drifts
from lossim._engine.measures import EndSums, Measures, ResponseTerm, TokenTerm
from lossim._engine.over_kernels import Family, checked_family, family_of, laid_out, lengths_over
from lossim._engine.over_schemes import FIRST_STEP, scheme_doubts
from lossim._engine.pace import NO_PACE, Pace, Paced, clock, pace
from lossim._engine.projections import gae_projection_of
from lossim._engine.readout import NATS, Readout, length_changes
from lossim._engine.remarks import other_work, out_of_loss, start_notes, unpaid_grades
from lossim._engine.report import (
    STANDARD_ERRORS,
    Question,
    Report,
    content_notes,
    describe_policy,
    describe_rng,
    describe_scheme,
    kernel_doubt,
    reported,
    setting_notes,
    unsettled_notes,
    versions,
)
from lossim._engine.result import Drift, how_far
from lossim._engine.rules import EndRules, Logged
from lossim._engine.sampled import (
    Batches,
    cannot_fill,
    credited,
    critic_sums,
    end_sums,
    groups_admitted,
    measures_of,
    sums_by_end,
    unequal_groups,
)
from lossim._engine.side_by_side import SideBySide, class_by_class
from lossim._engine.sources import ROLES
from lossim._engine.states import along_draws, sums_by_token, with_entries
from lossim._engine.step import Step

__all__ = ["FIRST_STEP", "NATS", "NO_PACE", "ROLES", "STANDARD_ERRORS", "TERMS", "Batches", "Changes", "Credit",
           "Drift", "EndRules", "EndSums", "Family", "Groups", "Headline", "LengthDrift", "Logged", "Measures", "Pace",
           "Paced", "Question", "Ratios", "Readout", "Report", "ResponseTerm", "SideBySide", "Step", "TokenTerm",
           "advantage_sums_of", "along_draws", "at_pace", "cannot_fill", "check_alike", "checked_family",
           "class_by_class", "clock", "content_notes", "credit", "credited", "critic_sums", "describe_policy",
           "describe_rng", "describe_scheme", "drift", "effective_reward", "end_sums", "entry_advantage",
           "expected_measures", "family_of", "first_step_doubts", "gae_projection_of", "group_credit",
           "groups_admitted", "headline", "headline_of", "headlines", "how_far", "kernel_doubt", "laid_out",
           "length_changes", "length_drift", "length_drifts", "lengths_over", "measures_of", "other_work",
           "out_of_loss", "pace", "reported", "scheme_doubts", "setting_notes", "share_of_dead_groups", "start_notes",
           "sums_by_end", "sums_by_token", "unequal_groups", "unpaid_grades", "unsettled_notes", "update_gradient",
           "versions", "with_entries"]
