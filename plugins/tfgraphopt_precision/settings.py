"""The options of precision, as ``Config.options["precision"]`` gives them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import Node
from tfgraphopt_precision.costs import NOMINAL
from tfgraphopt_precision.plan import PrecisionPlan, load_plans
from tfgraphopt_precision.ranges import Ranges, load_ranges

_KINDS = ("name", "op", "type")


@attrs.frozen(slots=True)
class Pattern:
    """Chooses layers: ``name=`` (of the layer or of a node it comes from), ``op=`` (``trt.softmax``, ``trt.unary:exp``) or
    ``type=`` (``f32(*,128,128)``, of a result) with a shell pattern; a bare pattern is of names."""

    text: str

    def __attrs_post_init__(self) -> None:
        kind, equals, _ = self.text.partition("=")
        if equals and kind not in _KINDS:
            raise ConfigError(f"{self.text!r} chooses by {kind!r}", hint=f"choose by {', '.join(_KINDS)}")

    def matches(self, node: Node) -> bool:
        """Whether ``node`` is chosen."""
        kind, equals, pattern = self.text.partition("=")
        candidates = _FACTS[kind if equals else "name"](node)
        return any(fnmatch.fnmatchcase(c, pattern if equals else kind) for c in candidates)


def _op_facts(node: Node) -> tuple[str, ...]:
    kind = node.attrs.get("operation", node.attrs.get("type"))
    return (node.op, f"{node.op}:{kind}") if isinstance(kind, str) else (node.op,)


def _type_facts(node: Node) -> tuple[str, ...]:
    """In parentheses, because brackets are character sets in shell patterns."""
    return tuple(str(v.type).replace("[", "(").replace("]", ")") for v in node.outputs)


_FACTS: Mapping[str, Callable[[Node], tuple[str, ...]]] = {
    "name": lambda node: (node.name, *node.origin), "op": _op_facts, "type": _type_facts,
}  # fmt: skip


def _patterns(texts: Sequence[str]) -> tuple[Pattern, ...]:
    return tuple(Pattern(t) for t in ([texts] if isinstance(texts, str) else texts))


def _plans(value: Any) -> dict[str, PrecisionPlan]:
    if isinstance(value, (str, Path)):
        return load_plans(Path(value)) if str(value) else {}
    return dict(value or {})


def _ranges(value: Any) -> dict[str, Ranges]:
    if isinstance(value, (str, Path)):
        return load_ranges(Path(value)) if str(value) else {}
    return dict(value or {})


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """What the caller wants of precision.

    Attributes:
        keep: layers to keep in float32 (see :class:`Pattern`).
        lower: layers to run in the low precision whatever the rules say, unless numbers of them would become infinite.
        plan: plans by segment name, or the path of a file of them: what they say holds, other layers are decided.
        ranges: measured ranges by segment name, or the path of a file of them.
        max_reduce_depth, max_product_depth, max_value, nominal: see :class:`~tfgraphopt_precision.rules.Surroundings`.
        audit: read the builder's own table of kernels back and compare it with the plan.
        attempts: how often a segment is built again after layers that TensorRT refused have gone to float32.
    """

    keep: tuple[Pattern, ...] = attrs.field(default=(), converter=_patterns)
    lower: tuple[Pattern, ...] = attrs.field(default=(), converter=_patterns)
    plan: Mapping[str, PrecisionPlan] = attrs.field(factory=dict, converter=_plans)
    ranges: Mapping[str, Ranges] = attrs.field(factory=dict, converter=_ranges)
    max_reduce_depth: int = 1024
    max_product_depth: int | None = None
    max_value: float | None = None
    nominal: int = NOMINAL
    audit: bool = True
    attempts: int = 4

    @classmethod
    def of(cls, config: Config) -> Settings:
        """The settings in ``config``; ConfigError names an option that does not exist."""
        given = dict(config.options.get("precision", {}))
        known = {f.name for f in attrs.fields(cls)}
        unknown = sorted(given.keys() - known)
        if unknown:
            raise ConfigError(
                f"precision has no option {', '.join(unknown)}", hint=f"it has {', '.join(sorted(known))}"
            )
        return cls(**given)
