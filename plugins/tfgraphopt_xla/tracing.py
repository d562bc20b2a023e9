"""A lowered body as functions of TensorFlow ops, one of which must be compiled by XLA."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.errors import EngineBuildFailed
from tfgraphopt.graphdef import import_graph_def
from tfgraphopt.ir import AttrValue, FuncRef, Graph, Module, Tensor, Value
from tfgraphopt.ir.core import CONSTANT_OPS
from tfgraphopt.ir.pack import fingerprint
from tfgraphopt.regions import copy_node
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.meaning import as_function

Dispatch = Callable[[Any, Callable[..., Any], Sequence[Any]], Sequence[Any]]
"""``dispatch(tf, compiled, inputs)`` calls the compiled function, on whatever it makes of the inputs."""
MUST_COMPILE = "_XlaMustCompile"


@attrs.frozen(slots=True)
class Program:
    """What stands for a segment: ``entry`` takes the segment's inputs and ``weights``; ``functions`` are all that are needed."""

    entry: Graph
    functions: tuple[Graph, ...]
    weights: tuple[Tensor, ...]
    digest: str


def trace(
    body: Graph, layers: Mapping[str, LayerDef], name: str, weights: Sequence[Value] = (), dispatch: Dispatch | None = None
) -> Program:  # fmt: skip
    """The program of ``body``: a function that must compile, called as ``dispatch`` says (once, on the inputs, by default).

    Args:
        body: a lowered graph, of layers that XLA can take.
        layers: layer definitions by op.
        name: what the functions' names begin with; they end in a digest, as a process has one function a name.
        weights: constants of ``body`` that shall be arguments.
        dispatch: see :data:`Dispatch`.
    """
    import tensorflow as tf

    split, tensors = with_arguments(body, weights)
    specs = [
        tf.TensorSpec(v.shape.dims, v.dtype.tf_name, name=f"input_{i}") for i, v in enumerate(split.inputs)
    ]  # fmt: skip
    compiled = tf.function(as_function(split, layers), specs, autograph=False, jit_compile=True)

    def entry(*inputs: Any) -> Sequence[Any]:
        return compiled(*inputs) if dispatch is None else dispatch(tf, compiled, inputs)

    traced = tf.function(entry, specs, autograph=False).get_concrete_function()
    module = import_graph_def(traced.graph.as_graph_def(), [t.name for t in traced.outputs])
    functions, digest = _named(module, name, [t.op.name for t in traced.inputs])
    return Program(functions[0], functions, tensors, digest)


def lowered(body: Graph, layers: Mapping[str, LayerDef], shapes: Sequence[Sequence[int]]) -> str:
    """The HLO text of ``body`` for one shape of each input, its weights as parameters: what XLA is given, before it optimises.

    Raises:
        EngineBuildFailed: TensorFlow cannot hand ``body`` to XLA; ``why`` is what it says.
    """
    import tensorflow as tf

    split, tensors = with_arguments(body, constants(body))
    dims = [*shapes, *(t.shape.static() for t in tensors)]
    specs = [tf.TensorSpec(d, v.dtype.tf_name) for d, v in zip(dims, split.inputs, strict=True)]
    function = tf.function(as_function(split, layers), autograph=False, jit_compile=True)
    try:
        return str(function.experimental_get_compiler_ir(*specs)(stage="hlo"))
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise EngineBuildFailed(f"XLA cannot compile {body.name}", why=str(error)) from error


# -- weights ---------------------------------------------------------------------------------------------------------


def with_arguments(body: Graph, weights: Sequence[Value]) -> tuple[Graph, tuple[Tensor, ...]]:
    """A copy of ``body`` that takes the constants ``weights`` as further inputs, and their values."""
    copy = Graph(body.name, body.ops, body.dialect)
    values = {v: copy.add_input(f"input_{i}", v.type) for i, v in enumerate(body.inputs)}
    values |= {v: copy.add_input(f"weight_{i}", v.type) for i, v in enumerate(weights)}
    for node in body:
        if node.outputs and node.outputs[0] not in values:
            clone = copy_node(copy, node, [values[v] for v in node.inputs])
            values.update(zip(node.outputs, clone.outputs, strict=True))
    copy.set_outputs([values[v] for v in body.outputs], body.output_names)
    return copy, tuple(_value_of(v) for v in weights)


def constants(body: Graph) -> list[Value]:
    """The floating-point constants of ``body``: weights. Integers stay, as shapes may follow from them."""
    return [n.output for n in body if n.op in CONSTANT_OPS and n.output.dtype.is_floating]


def _value_of(value: Value) -> Tensor:
    tensor = None if value.producer is None else value.producer.attrs["value"]
    assert isinstance(tensor, Tensor)
    return tensor


# -- names -----------------------------------------------------------------------------------------------------------


def _named(module: Module, name: str, inputs: Sequence[str]) -> tuple[tuple[Graph, ...], str]:
    """The functions of a traced module, its main graph as the first, under names that depend on what they hold alone; a digest."""
    entry = _as_function(module.main, inputs)
    reached = _reached(entry, module)
    _rename(reached, name, "")
    digest = hashlib.sha256("".join(fingerprint(g) for g in reached).encode()).hexdigest()
    _rename(reached, name, f"_{digest[:12]}")
    return tuple(reached), digest


def _as_function(main: Graph, inputs: Sequence[str]) -> Graph:
    """A main graph with placeholders as a function with formal inputs, in the order of their names ``inputs``."""
    made = Graph("entry", main.ops)
    values = {}
    for index, name in enumerate(inputs):
        value = main.node(name).output
        values[value] = made.add_input(f"input_{index}", value.type)
    for node in main:
        if node.name not in inputs:
            clone = copy_node(made, node, [values[v] for v in node.inputs])
            values.update(zip(node.outputs, clone.outputs, strict=True))
    made.set_outputs([values[v] for v in main.outputs], [f"output_{i}" for i in range(len(main.outputs))])
    return made


def _reached(entry: Graph, module: Module) -> list[Graph]:
    """``entry`` and every function that it may call, in the order in which they are met."""
    found = {entry.name: entry}
    waiting = [entry]
    while waiting:
        for node in waiting.pop(0):
            for name in _references(tuple(value for _, value in sorted(node.attrs.items()))):
                if name not in found and name in module.functions:
                    found[name] = module.functions[name]
                    waiting.append(found[name])
    return list(found.values())


def _references(value: AttrValue) -> list[str]:
    if isinstance(value, FuncRef):
        return [value.name, *_references(tuple(v for _, v in value.attrs))]
    if isinstance(value, tuple):
        return [name for item in value for name in _references(item)]
    return []


def _rename(graphs: Sequence[Graph], name: str, suffix: str) -> None:
    """New names for functions, and no trace of the process that traced them."""
    names = {g.name: f"{name}_{_role(i, g)}{suffix}" for i, g in enumerate(graphs)}
    for graph in graphs:
        graph.name, graph.source = names[graph.name], None
        graph.extras.clear()
        for node in graph:
            for key, value in list(node.attrs.items()):
                changed = "" if key == "config_proto" else _renamed(value, names)
                if changed != value:
                    node.set_attr(key, changed)


def _role(index: int, graph: Graph) -> str:
    if index == 0:
        return "entry"
    return f"compiled_{index}" if graph.attrs.get(MUST_COMPILE) else f"part_{index}"


def _renamed(value: AttrValue, names: Mapping[str, str]) -> AttrValue:
    if isinstance(value, FuncRef):
        return FuncRef(names.get(value.name, value.name), tuple((k, _renamed(v, names)) for k, v in value.attrs))
    if isinstance(value, tuple):
        return tuple(_renamed(item, names) for item in value)
    return value
