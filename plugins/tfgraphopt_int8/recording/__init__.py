"""The ops that watch tensors while a calibration graph runs, and the table of what they saw in this process."""

from tfgraphopt_int8.recording.library import Observed, forget, load, observed

__all__ = ["Observed", "forget", "load", "observed"]
