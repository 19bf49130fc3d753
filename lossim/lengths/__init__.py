"""How long a response would be: laws of the length T, as hazard logits over the positions t = 1..N.

A law is a frozen value with one method, ``logits(max_tokens)``. The hazard is h(t) = P(T = t | T ≥ t), its
logit z(t) = log h(t) − log (1 − h(t)); −inf is a hazard of 0, +inf a hazard of 1, and positions behind a
hazard of 1, which nobody reaches, carry +inf. What is left after N tokens is truncated: a law knows no cut,
so the same one serves every ``max_tokens``.

>>> table([0.0, 0.5, 1.0]).logits(4)
array([-inf,   0.,  inf,  inf])
"""

from lossim.lengths._hazards import Length, Tabulated, constant, from_logits, geometric, observed, table
from lossim.lengths._hazards import hazard_logits as hazard_logits  # for policies
from lossim.lengths._tails import from_scipy, lognormal

__all__ = ["Length", "Tabulated", "constant", "from_logits", "from_scipy", "geometric", "lognormal", "observed",
           "table"]
