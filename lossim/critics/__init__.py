"""Critics: V_t, the value before token t, for GAE. Given as data, or learned while training goes on.

V_1 is per prompt class, since the path is not chosen yet; from t = 2 on it is per cell, a path or a state of it, or per
class for a critic that cannot tell these apart.
"""

from lossim.critics._assumed import NotGiven, Scaled
from lossim.critics._base import Critic, CriticView
from lossim.critics._given import ClassMean, Constant, Exact, Linear, Table, Zero
from lossim.critics._head import LearnedLinear
from lossim.critics._learned import Learned, LearnedTable, Lesson, RunningMean

__all__ = ["ClassMean", "Constant", "Critic", "CriticView", "Exact", "Learned", "LearnedLinear", "LearnedTable",
           "Lesson", "Linear", "NotGiven", "RunningMean", "Scaled", "Table", "Zero"]
