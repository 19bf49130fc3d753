"""lossim: what an RL loss does to response length, before the run.

Which way mean length goes, and how much of that buys accuracy:

>>> import lossim as ls
>>> policy = ls.policies.reasoning(accuracy=0.3, mean_right=1200, mean_wrong=900, premature=0.7, truncated=0.02,
...                                verbosity=200, max_tokens=8192)
>>> drift = ls.drift(ls.schemes.grpo(), policy)
>>> drift.verdict
'responses get longer, +71.5 tokens (+49.7 to +92.1) in a step of 0.01 nats'
>>> print(f"{float(drift.needed) / float(drift.length):.0%} of it is needed: it changes accuracy")
68% of it is needed: it changes accuracy
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lossim._face import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """A module of lossim by itself, or all of ``lossim._face``: numpy and scipy wait until they are needed."""
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if find_spec(f"{__name__}.{name}") is not None:
        return import_module(f"{__name__}.{name}")
    face = import_module(f"{__name__}._face")
    if not hasattr(face, name):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals().update({known: getattr(face, known) for known in face.__all__})
    return getattr(face, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *import_module(f"{__name__}._face").__all__})
