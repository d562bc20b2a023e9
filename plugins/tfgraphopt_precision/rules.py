"""Rules of precision: what a layer loses in a low precision, as data that plugins contribute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import attrs

from tfgraphopt.ir import Node, Tensor, Value, constant_of
from tfgraphopt_precision.costs import NOMINAL, depth
from tfgraphopt_precision.modes import Mode
from tfgraphopt_precision.ranges import Range, Ranges

ANY_LAYER = "*"


@attrs.frozen(slots=True)
class Objection:
    """Why a layer should stay in float32.

    ``weight`` None forbids the low precision. A number is a preference: what running the layer in low precision is held to cost,
    in multiples of what it saves; casts decide, so that a layer among low ones may be low all the same.
    """

    reason: str
    weight: float | None = None


@attrs.frozen(slots=True)
class Surroundings:
    """What a rule may know besides the layer.

    Attributes:
        mode: the low precision.
        ranges: measured ranges, empty without sample data.
        max_reduce_depth: how many numbers a reduction may add up without an objection.
        max_product_depth: the same for convolutions and matrix products, whose sums hardware keeps in float32; None is no limit.
        max_value: the largest magnitude that a measured tensor may have; by default half of what the type holds.
        nominal: what unknown dimensions count as.
    """

    mode: Mode
    ranges: Ranges = attrs.field(factory=Ranges)
    max_reduce_depth: int = 1024
    max_product_depth: int | None = None
    max_value: float | None = None
    nominal: int = NOMINAL

    @property
    def limit(self) -> float:
        """The largest magnitude that measured tensors may have; the default leaves room for inputs that were not seen."""
        return self.mode.largest / 2 if self.max_value is None else self.max_value

    def range_of(self, value: Value) -> Range | None:
        """What was measured of ``value``, if anything."""
        return self.ranges.get(value.name)

    @staticmethod
    def is_deeper(node: Node, limit: int) -> bool:
        """Whether each result of ``node`` adds up more numbers than ``limit``, or an unknown count."""
        return not 0 < depth(node) <= limit

    @staticmethod
    def constants(node: Node) -> list[Tensor]:
        """The floating-point constants that ``node`` reads."""
        found = (constant_of(v) for v in node.inputs)
        return [t for t in found if t is not None and t.dtype.is_floating]


Check = Callable[[Node, Surroundings], Objection | None]


@attrs.frozen(slots=True)
class PrecisionRule:
    """Speaks for float32 on behalf of some layers.

    Attributes:
        name: unique, kebab-case; what plans name as the origin of a decision.
        ops: the layers that it looks at; ``("*",)`` for all of them.
        check: ``check(layer, surroundings)`` gives the objection to running it in ``surroundings.mode``, or None. It is asked
            of the float32 layer.
        final: whether the caller's own wishes cannot overrule it (the result would be infinite, not inexact).
        overrides: the plugin whose rule of this name it replaces.
    """

    name: str
    check: Check
    ops: tuple[str, ...] = (ANY_LAYER,)
    final: bool = False
    overrides: str = ""


@attrs.frozen(slots=True)
class RuleSet:
    """Rules by the op that they look at."""

    by_op: Mapping[str, tuple[PrecisionRule, ...]]

    @classmethod
    def of(cls, rules: Iterable[PrecisionRule]) -> RuleSet:
        """The rule set of ``rules``."""
        found: dict[str, list[PrecisionRule]] = {}
        for rule in rules:
            for op in rule.ops:
                found.setdefault(op, []).append(rule)
        return cls({op: tuple(group) for op, group in found.items()})

    def objections(self, node: Node, around: Surroundings) -> list[tuple[PrecisionRule, Objection]]:
        """Everything that speaks against ``node`` in low precision."""
        rules = (*self.by_op.get(ANY_LAYER, ()), *self.by_op.get(node.op, ()))
        asked = ((rule, rule.check(node, around)) for rule in rules)
        return [(rule, objection) for rule, objection in asked if objection is not None]
