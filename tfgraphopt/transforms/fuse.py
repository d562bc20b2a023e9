"""fuse: fold and fuse TensorFlow ops where only rounding changes."""

from __future__ import annotations

from typing import ClassVar

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt.passes import Context, Pass
from tfgraphopt.transforms.canonicalize import apply_hosted


@attrs.frozen(slots=True)
class Fuse(Pass):
    """Fold batch normalisation, scales and shifts into weights, and recognise activations that were written out.

    Results change by rounding, so no default pipeline has it: what stays in TensorFlow is to compute what it did before. Put it
    into a pipeline of your own to speed up a graph that TensorFlow itself runs. ``skip`` names rules to leave out.
    """

    name: ClassVar[str] = "fuse"
    after: ClassVar[tuple[str, ...]] = ("infer-types", "fold-constants", "remove-identity", "canonicalize")
    before: ClassVar[tuple[str, ...]] = ("segment",)
    default: ClassVar[bool] = False
    skip: tuple[str, ...] = attrs.field(default=(), converter=tuple)

    def run(self, graph: Graph, ctx: Context) -> None:
        """Rewrite ``graph`` until no rule fires."""
        apply_hosted(self.name, graph, ctx, self.skip)
