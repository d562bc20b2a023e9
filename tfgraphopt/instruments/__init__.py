"""Instruments: what can be put around passes, and the drivers that use them."""

from tfgraphopt.instruments.bisection import Bisect, Culprit, bisect
from tfgraphopt.instruments.dump import Dump
from tfgraphopt.instruments.journal import Event, Journal
from tfgraphopt.instruments.measure import OpCountDiff, OpCounts, Timing
from tfgraphopt.instruments.reproducer import Reproducer, Reproduction, load_reproduction, replay
from tfgraphopt.instruments.verification import Verify

__all__ = [
    "Bisect", "Culprit", "Dump", "Event", "Journal", "OpCountDiff", "OpCounts", "Reproducer", "Reproduction", "Timing", "Verify",
    "bisect", "load_reproduction", "replay",
]  # fmt: skip
