"""Many steps: runs in the mean field, as a flow, or sampled."""

from lossim._training.mean_field import MeanField
from lossim._training.records import Recorder
from lossim._training.result import Training
from lossim._training.train import paced_rule, train

__all__ = ["MeanField", "Recorder", "Training", "paced_rule", "train"]
