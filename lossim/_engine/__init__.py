"""What one step of a scheme does to a policy: the expectation, samples, and what is read off them."""

from lossim._engine.drift import drift, finished
from lossim._engine.exact import expected_measures, share_of_dead_groups
from lossim._engine.gradients import Measures, advantage_sums, update_gradient
from lossim._engine.provenance import describe_policy, describe_rng, describe_scheme, versions
from lossim._engine.readout import NATS, ROLES, TERMS, Readout, centred, effective_reward, gae_projection, inner_product
from lossim._engine.result import Drift
from lossim._engine.sampled import Credited, credited, measures, unequal
from lossim._engine.step import Step
from lossim._support.text import decimals, number, wrapped

__all__ = ["NATS", "ROLES", "TERMS", "Credited", "Drift", "Measures", "Readout", "Step", "advantage_sums", "centred",
           "credited", "decimals", "describe_policy", "describe_rng", "describe_scheme", "drift", "effective_reward",
           "expected_measures", "finished", "gae_projection", "inner_product", "measures", "number",
           "share_of_dead_groups", "unequal", "update_gradient", "versions", "wrapped"]
