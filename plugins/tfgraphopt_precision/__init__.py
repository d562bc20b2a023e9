"""Mixed precision of lowered bodies for strongly typed networks: which layers run in float16 or bfloat16, and why others do not.

A third party contributes a :class:`PrecisionRule` through the hook ``tfgraphopt_precision_rules``.
"""

from tfgraphopt_precision.modes import MODES, Mode
from tfgraphopt_precision.plan import LayerPrecision, PrecisionPlan, load_plans, save_plans
from tfgraphopt_precision.ranges import Range, Ranges, load_ranges, measure, save_ranges
from tfgraphopt_precision.rules import Objection, PrecisionRule, Surroundings

__all__ = [
    "LayerPrecision", "MODES", "Mode", "Objection", "PrecisionPlan", "PrecisionRule", "Range", "Ranges", "Surroundings",
    "load_plans", "load_ranges", "measure", "save_plans", "save_ranges",
]  # fmt: skip
