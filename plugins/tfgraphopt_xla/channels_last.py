"""channels-last: give XLA convolutions and pooling in the order of axes that TensorFlow's ops have.

The ``layout`` pass has cancelled the transposes of N,C,spatial layers, and ``trt-canonicalize`` has folded what could be folded into their
weights. Here the windows turn to N,spatial,C, and the layout search cancels the transposes that this makes; a network whose
input is N,spatial,C has none left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import attrs

from tfgraphopt.ir import Attrs, Graph, Node, Shape, Value
from tfgraphopt.passes import Context, Pass
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_layout.layout import RULES_HOOK, lay_out
from tfgraphopt_trt.canonicalize import fold_constants
from tfgraphopt_trt.engine_kinds import builds
from tfgraphopt_trt.engine_nodes import PROFILES
from tfgraphopt_trt.lower import LOWERED
from tfgraphopt_trt.support import LAYERS_HOOK
from tfgraphopt_xla.kind import NAME
from tfgraphopt_xla.layers import CONVOLUTION, POOLING
from tfgraphopt_xla.settings import Settings

_LAST = (0, 2, 3, 1)
_FIRST = (0, 3, 1, 2)
_KERNEL = (2, 3, 1, 0)


@attrs.frozen(slots=True)
class ChannelsLast(Pass):
    """Turn two-dimensional convolutions and pooling to N,H,W,C, for XLA only."""

    name: ClassVar[str] = "channels-last"
    needs: ClassVar[frozenset[str]] = frozenset({LOWERED})
    after: ClassVar[tuple[str, ...]] = ("lower", "layout", "trt-canonicalize", "precision", "int8")
    before: ClassVar[tuple[str, ...]] = ("build-xla",)
    dialect: ClassVar[str | None] = "trt"

    def applies(self, ctx: Context) -> bool:
        return builds(ctx, NAME) and Settings.of(ctx.config).layout == "channels_last"

    def run(self, graph: Graph, ctx: Context) -> None:
        products = _products(graph, ctx)
        turned = [_turn(node, products(node)) for node in list(graph) if _turns(node)]
        if not turned:
            return
        fold_constants(graph, {layer.op: layer for layer in ctx.tables.items(LAYERS_HOOK)})
        lay_out(graph, ctx.tables.table(RULES_HOOK))
        erase_dead(graph, keep_placeholders=False)


def _turns(node: Node) -> bool:
    return node.op in _TURNED and len(node.inputs[0].shape) == 4


_TURNED: Mapping[str, str] = {"trt.convolution": CONVOLUTION, "trt.pooling": POOLING}


def _products(graph: Graph, ctx: Context) -> Callable[[Node], bool]:
    """Which convolutions shall be matrix products if they can."""
    settings = Settings.of(ctx.config)
    if settings.pointwise != "auto":
        return lambda node: settings.pointwise == "product"
    batch = _usual_batch(graph, ctx)
    return lambda node: _is_small(node, _elements(node, batch), settings)


def _is_small(node: Node, rows: int | None, settings: Settings) -> bool:
    """Whether a convolution of one element, over ``rows`` pixels, is so little work that launching it decides."""
    weights = node.inputs[1].shape.num_elements if len(node.inputs) > 1 else None
    if not rows or not weights:
        return False
    return rows <= settings.max_product_rows and rows * weights <= settings.max_product_work


def _usual_batch(graph: Graph, ctx: Context) -> int | None:
    """The smallest first axis of an input at the optimum of a profile."""
    profiles = ctx.facts.get(PROFILES, {}).get(graph.name, ())
    known = [] if isinstance(profiles, str) else [r.opt[0] for p in profiles for r in p.values() if r.opt]
    return min(known, default=None)


def _elements(node: Node, batch: int | None) -> int | None:
    """The pixels of the result of a convolution, an unknown batch counted as ``batch``."""
    images, _, *size = node.output.shape.known()
    return Shape([batch if images is None else images, *size]).num_elements


def _turn(node: Node, product: bool) -> Node:
    """The channels-last layer in place of ``node``, between two transposes."""
    more: Attrs = {"as_product": product} if node.op == "trt.convolution" else {}
    x, *weights = node.inputs
    operands = [_transposed(x, _LAST, node), *_turned_weights(weights, node)]
    turned = node.graph.add(
        _TURNED[node.op], operands, {**node.attrs, **more}, name=node.name, before=node, origin=node.origin
    )  # fmt: skip
    node.output.replace_uses(_transposed(turned.output, _FIRST, node))
    node.graph.erase(node)
    return turned


def _turned_weights(weights: Sequence[Value], node: Node) -> list[Value]:
    return [_transposed(weights[0], _KERNEL, node), *weights[1:]] if weights else []


def _transposed(value: Value, perm: tuple[int, ...], node: Node) -> Value:
    name = f"{node.name}/to_{'_'.join(map(str, perm))}"
    return node.graph.add("trt.transpose", [value], {"perm": perm}, name=name, before=node, origin=node.origin).output
