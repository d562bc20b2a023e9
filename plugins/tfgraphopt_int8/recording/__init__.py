"""The ops that watch tensors while a calibration graph runs, and the table of what they saw in this process."""

from tfgraphopt.runtimes import EngineRuntime
from tfgraphopt_int8.recording.library import Observed, forget, load, observed

RUNTIME = EngineRuntime("int8-recording", load, dict, lambda: None)
"""They run no engines and count nothing."""

__all__ = ["RUNTIME", "Observed", "forget", "load", "observed"]
