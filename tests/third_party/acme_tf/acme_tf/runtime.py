"""Acme's op for processes that run models: the entry-point group ``tfgraphopt.runtimes`` names it."""

from __future__ import annotations

from acme_tf import op
from tfgraphopt.runtimes import EngineRuntime

RUNTIME = EngineRuntime("acme", op.load, counters=dict, reset=lambda: None)
"""It runs no engines, so it has nothing to count."""
