"""The token level: the loss of a padded batch and its gradient in each token's log probability, as trainers compute it.

Arrays are [response, t] with a mask, as in verl and TRL; the slots of a :class:`~lossim.Scheme` say what to compute,
by the same formulas as the expectation. No automatic differentiation: every surrogate brings its own derivative.

>>> import numpy as np
>>> import lossim as ls
>>> batch = ls.tokens.Batch(log_prob=np.log([[0.5, 0.5, 1.0], [0.25, 1.0, 1.0]]), mask=[[1, 1, 0], [1, 0, 0]],
...                         reward=[1.0, 0.0], group=["what is 2 + 2?", "what is 2 + 2?"])
>>> ls.tokens.loss(ls.schemes.dr_grpo(constant=10.0), batch)
dr_grpo: loss -0.025 (policy -0.025) over 3 tokens in 2 of 2 responses; clipped 0 %
>>> ls.tokens.loss(ls.schemes.dr_grpo(constant=10.0), batch).gradient
array([[-0.025, -0.025,  0.   ],
       [ 0.025,  0.   ,  0.   ]])
"""

from lossim.tokens._advantages import advantages
from lossim.tokens._batch import Batch
from lossim.tokens._loss import TokenLoss, loss
from lossim.tokens._weights import dppo_mask, gdpo, importance_weights

__all__ = ["Batch", "TokenLoss", "advantages", "dppo_mask", "gdpo", "importance_weights", "loss"]
