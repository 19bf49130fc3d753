"""Pictures of results."""

from lossim._pictures.attributions import plot_attribution
from lossim._pictures.audits import plot_audit
from lossim._pictures.maps import Map, draw_map
from lossim._pictures.results import plot_drift, plot_forecast, plot_training
from lossim._pictures.runs import plot_curves
from lossim._pictures.surveys import plot_survey

__all__ = ["Map", "draw_map", "plot_attribution", "plot_audit", "plot_curves", "plot_drift", "plot_forecast",
           "plot_survey", "plot_training"]
