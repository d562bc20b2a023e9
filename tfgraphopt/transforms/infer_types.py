"""infer-types: let TensorFlow's own shape functions say what is known of every tensor."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.graphdef import infer_types
from tfgraphopt.ir import Graph
from tfgraphopt.passes import Context, Pass

TYPES = "types"


@attrs.frozen(slots=True)
class InferTypes(Pass):
    """Record the shapes that TensorFlow infers; what was known better before stays."""

    name: ClassVar[str] = "infer-types"
    provides: ClassVar[frozenset[str]] = frozenset({TYPES})

    def run(self, graph: Graph, ctx: Context) -> None:
        refresh_types(graph)


def refresh_types(graph: Graph) -> None:
    """Update the types of every value of ``graph`` by TensorFlow's inference."""
    for value, found in infer_types(graph).items():
        known = value.type.shape
        merged = known.merge(found.shape) if known.compatible(found.shape) else found.shape
        value.set_type(found.with_shape(merged))
