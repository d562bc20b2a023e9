"""Layout of lowered bodies: permutations are pushed through layers by rules, cancelled, and folded into what is constant.

A third party's layer joins in by a :class:`LayoutRule`, contributed through the hook ``tfgraphopt_layout_rules``.
"""

from tfgraphopt_layout.permutations import Perm
from tfgraphopt_layout.rules import Carried, LayoutRule, Slot, axis_rule, pointwise_rule

__all__ = ["Carried", "LayoutRule", "Perm", "Slot", "axis_rule", "pointwise_rule"]
