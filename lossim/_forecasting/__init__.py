"""Where length goes in a run whose first steps are known."""

from lossim._forecasting.forecast import forecast
from lossim._forecasting.result import Forecast

__all__ = ["Forecast", "forecast"]
