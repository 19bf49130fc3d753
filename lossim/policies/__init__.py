"""A policy: prompt classes, the paths a response can take, and when it stops on each.

Arrays run over cells (class, path, state), flattened in order; most paths have one state. An *end* is how a response
ended: column t-1 of an array [..., N+1] is "stopped at t", the last column "cut at max_tokens". A *grade* is 0 for
correct, 1 for incorrect, and from 2 on another grade of those not correct.
"""

from lossim._model import Draws
from lossim.policies._policy import Policy
from lossim.policies._prompts import Path, PromptClass, Work
from lossim.policies._starts import beta_solve_rates, reasoning, two_paths, unsolvable, with_loops
from lossim.policies._summary import from_summary

__all__ = ["Draws", "Path", "Policy", "PromptClass", "Work", "beta_solve_rates", "from_summary", "reasoning",
           "two_paths", "unsolvable", "with_loops"]
