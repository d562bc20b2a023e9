"""layout-boundary: model inputs and outputs that callers have, or want, with their axes in another order.

The option is ``Config(options={"layout": {"inputs": {"image": (0, 3, 1, 2)}, "outputs": {"features": (0, 3, 1, 2)}}})``:
names of the model's inputs and outputs, and the order (axis i of the caller's tensor is axis ``order[i]`` of the model's).
The graph gets a TensorFlow Transpose there, so the fallback, the shapes of the profiles and everything that stays in TensorFlow
agree with it, and the ``layout`` pass cancels it inside the engine. Shape ranges of such inputs are given in the caller's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import Graph, Node, Tensor, Value
from tfgraphopt.passes import Context, Pass
from tfgraphopt.transforms.dead_code import FED
from tfgraphopt.transforms.infer_types import TYPES
from tfgraphopt_layout.permutations import Perm, inverse, is_identity, permuted

OPTIONS = "layout"


@attrs.frozen(slots=True)
class LayoutBoundary(Pass):
    """Give the model inputs and outputs that ``Config.options["layout"]`` names the order of axes that it asks for."""

    name: ClassVar[str] = "layout-boundary"
    needs: ClassVar[frozenset[str]] = frozenset({TYPES})
    before: ClassVar[tuple[str, ...]] = ("remove-identity", "fold-constants", "segment")
    dialect: ClassVar[str | None] = None

    def applies(self, ctx: Context) -> bool:
        return OPTIONS in ctx.config.options

    def run(self, graph: Graph, ctx: Context) -> None:
        wanted = boundary_orders(ctx.config)
        for name, order in wanted["inputs"].items():
            _turn_input(graph, name, order)
        for name, order in wanted["outputs"].items():
            _turn_output(graph, name, order)


def boundary_orders(config: Config) -> dict[str, dict[str, Perm]]:
    """The orders that the configuration asks for, by ``"inputs"`` and ``"outputs"``, and by name.

    Raises:
        ConfigError: the option is not of the form above.
    """
    given = config.options.get(OPTIONS, {})
    if not isinstance(given, Mapping) or not given.keys() <= {"inputs", "outputs"}:
        raise ConfigError(f"options[{OPTIONS!r}] must hold 'inputs' and 'outputs', not {given!r}")
    return {side: {n: _order(n, o) for n, o in given.get(side, {}).items()} for side in ("inputs", "outputs")}


def _order(name: str, order: Sequence[Any]) -> Perm:
    axes = tuple(int(axis) for axis in order)
    if sorted(axes) != list(range(len(axes))):
        raise ConfigError(f"options[{OPTIONS!r}]: the order {axes} of {name!r} is no permutation of axes")
    return axes


def _turn_input(graph: Graph, name: str, order: Perm) -> None:
    """The placeholder takes the caller's order; a transpose gives the model its own."""
    node = graph.find(name.partition(":")[0])
    if node is None or node.op not in FED:
        fed = [n.name for n in graph if n.op in FED]
        raise ConfigError(f"options[{OPTIONS!r}] names input {name!r}", hint=f"the inputs are {fed}")
    value = node.outputs[0]
    _check_rank(value, name, order)
    if is_identity(order):
        return
    value.set_type(permuted(value.type, order))
    node.set_attr("shape", value.shape)
    readers = value.uses
    restored = _transpose(graph, value, inverse(order), f"{node.name}/in_model_order", graph.successor(node))
    for reader, index in readers:
        reader.set_input(index, restored)


def _turn_output(graph: Graph, name: str, order: Perm) -> None:
    wanted = name if ":" in name else f"{name}:0"
    if wanted not in graph.output_names:
        raise ConfigError(
            f"options[{OPTIONS!r}] names output {name!r}", hint=f"the outputs are {list(graph.output_names)}"
        )
    index = graph.output_names.index(wanted)
    value = graph.outputs[index]
    if value.producer is None or value.producer.op in FED:
        raise ConfigError(
            f"options[{OPTIONS!r}] names output {name!r}, which is an input",
            hint="fetching an input gives what was fed; name it under 'inputs' alone",
        )
    _check_rank(value, name, order)
    if not is_identity(order):
        turned = _transpose(graph, value, order, f"{name.replace(':', '_')}/in_callers_order", None)
        graph.set_outputs([turned if i == index else v for i, v in enumerate(graph.outputs)])


def _check_rank(value: Value, name: str, order: Perm) -> None:
    if value.shape.rank != len(order):
        raise ConfigError(f"options[{OPTIONS!r}]: the order {order} of {name!r} does not fit its shape {value.shape}")


def _transpose(graph: Graph, value: Value, order: Perm, name: str, before: Node | None) -> Value:
    perm = graph.add("Const", [], {"value": Tensor.of(np.array(order, np.int32))}, name=f"{name}/perm", before=before)
    made = permuted(value.type, order)
    return graph.add("Transpose", [value, perm.output], name=name, before=before, types=[made]).output
