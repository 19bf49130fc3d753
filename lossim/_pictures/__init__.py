"""Pictures of results, each beside a sentence that says what it shows, for who does not see it.

``plot_X(result, ax)`` draws and returns the figure; ``describe_X(result)`` is the sentence, which is also ``alt`` of a
figure of its own. A picture is as wide as a column of text, its panels one above the other.
"""

from lossim._pictures.attributions import describe_attribution, plot_attribution
from lossim._pictures.audits import describe_audit, plot_audit
from lossim._pictures.maps import Map, describe_map, draw_map
from lossim._pictures.results import describe_drift, plot_drift
from lossim._pictures.runs import describe_curves, plot_curves
from lossim._pictures.sheets import Given
from lossim._pictures.surveys import describe_survey, plot_survey
from lossim._pictures.trainings import describe_forecast, describe_training, plot_forecast, plot_training

__all__ = ["Given", "Map", "describe_attribution", "describe_audit", "describe_curves", "describe_drift",
           "describe_forecast", "describe_map", "describe_survey", "describe_training", "draw_map", "plot_attribution",
           "plot_audit", "plot_curves", "plot_drift", "plot_forecast", "plot_survey", "plot_training"]
