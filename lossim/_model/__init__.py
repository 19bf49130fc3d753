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
from lossim._model.directions import Directions, Squares, centred, inner_product
from lossim._model.kernels import Kernels, Members, kernels
from lossim._model.layout import Draws, Layout

__all__ = ["CellArrays", "Coordinates", "Directions", "Draws", "Features", "Kernel", "Kernels", "Layout", "Logits",
           "Members", "Motion", "Squares", "centred", "coordinates", "inner_product", "kernel", "kernels",
           "kernels_side_by_side"]
