"""What engines see of a policy (its arrays), and how training moves it (coordinates, or a kernel as numbers)."""

from lossim._model.arrays import CellArrays
from lossim._model.coordinates import (
    Coordinates,
    Features,
    Kernel,
    Logits,
    Motion,
    coordinates,
    kernel,
    kernels_side_by_side,
)
from lossim._model.kernels import Kernels, Members, kernels
from lossim._model.layout import Draws, Layout

__all__ = ["CellArrays", "Coordinates", "Draws", "Features", "Kernel", "Kernels", "Layout", "Logits", "Members",
           "Motion", "coordinates", "kernel", "kernels", "kernels_side_by_side"]
