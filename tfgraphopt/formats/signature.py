"""Signatures for graphs that have none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tfgraphopt.graphdef.attributes import shape_proto
from tfgraphopt.ir import Graph, Value

SIGNATURE = "serving_default"
INITIALISER = "__saved_model_init_op"
"""The key of the one signature that is none: it names the op that initialises the model."""
_PREDICT = "tensorflow/serving/predict"


def add_signature(meta: Any, graph: Graph, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Give a meta graph, which holds ``graph``, the signature ``serving_default``.

    Args:
        inputs, outputs: nodes and tensors by the structured names that they get.
    """
    signature = meta.signature_def[SIGNATURE]
    signature.method_name = _PREDICT
    for key, name in inputs.items():
        _describe(signature.inputs[key], f"{name}:0", graph.node(name).outputs[0])
    fetched = dict(zip(graph.output_names, graph.outputs, strict=True))
    for key, name in outputs.items():
        full = name if ":" in name else f"{name}:0"
        _describe(signature.outputs[key], full, fetched[full])


def _describe(info: Any, name: str, value: Value) -> None:
    info.name = name
    info.dtype = value.dtype.number
    info.tensor_shape.CopyFrom(shape_proto(value.shape))


def key_of(output: str) -> str:
    """The structured name of a tensor: that of its node, with the number of a result other than the first."""
    name, _, index = output.removeprefix("^").partition(":")
    return f"{name}_{index}" if index not in ("", "0") else name


def ends(nodes: Iterable[Any]) -> tuple[str, ...]:
    """Of the nodes of a GraphDef, those that no other reads or waits for; constants, no-ops and placeholders left out."""
    every = list(nodes)
    read = {i.removeprefix("^").partition(":")[0] for n in every for i in n.input}
    return tuple(n.name for n in every if n.name not in read and n.op not in ("Const", "NoOp", "Placeholder"))


def ancestors(nodes: Iterable[Any], roots: Iterable[str]) -> set[str]:
    """The names of the nodes of a GraphDef that ``roots`` (nodes or tensors) need, by data or control."""
    by_name = {n.name: n for n in nodes}
    needed: set[str] = set()
    waiting = [r.removeprefix("^").partition(":")[0] for r in roots]
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in needed:
            needed.add(name)
            waiting.extend(i.removeprefix("^").partition(":")[0] for i in by_name[name].input)
    return needed
