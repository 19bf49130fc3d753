"""What training moves: coordinates, and kernels as numbers."""

from lossim._model.coordinates import Coordinates, Features, Kernel, Layout, Motion, coordinates, kernel

__all__ = ["Coordinates", "Features", "Kernel", "Layout", "Motion", "coordinates", "kernel"]
