"""Accepted cases and the real builder.

Building a network takes a tenth of a second: the tests ask for it where it matters, every twentieth other network is built as well
(chosen by its text, so always the same ones), and with ``TFGRAPHOPT_BUILD=all`` every one is.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from converters.ledger import LEDGER
from tfgraphopt.errors import ConfigError, TfGraphOptError
from tfgraphopt.ir import Graph, Node, Value
from tfgraphopt.ir.text import print_graph
from tfgraphopt.transforms.dead_code import erase_dead
from tfgraphopt_trt.build import BuildResult, build_plan
from tfgraphopt_trt.build_log import BuildLog, make_logger
from tfgraphopt_trt.converter import Fragment
from tfgraphopt_trt.emit import emit_network
from tfgraphopt_trt.layers import layer_map
from tfgraphopt_trt.profiles import InputRange, ValueRange
from tfgraphopt_trt.tensorrt_api import load

Array = np.ndarray[Any, Any]

EVERYTHING = os.environ.get("TFGRAPHOPT_BUILD") == "all"
ONE_IN = 20
NO_KERNELS = frozenset({"trt.non_zero", "trt.nms"})
"""Layers that TensorRT for RTX has no kernels for."""


def record(node: Node, fragment: Fragment, arrays: Sequence[Array], *, build: bool) -> None:
    """Enter a converted node into the ledger, its layers built if ``build`` says so or the case is among the chosen.

    What the builder refuses when everything is built is noted in the ledger; else it fails the test.
    """
    erase_dead(fragment.graph)
    if any(n.op in NO_KERNELS for n in fragment.graph):
        emit_layers(fragment.graph)
        LEDGER.tried(node, built=False, emitted=True)
    elif build or _is_chosen(fragment.graph):
        build_layers(fragment, arrays)
        LEDGER.tried(node, built=True)
    elif EVERYTHING:
        LEDGER.tried(node, built=_is_built(node.op, fragment, arrays))
    else:
        LEDGER.tried(node, built=False)


def _is_chosen(graph: Graph) -> bool:
    return not EVERYTHING and zlib.crc32(print_graph(graph).encode()) % ONE_IN == 0


def _is_built(op: str, fragment: Fragment, arrays: Sequence[Array]) -> bool:
    try:
        build_layers(fragment, arrays)
    except TfGraphOptError as refusal:
        LEDGER.unbuilt(op, str(refusal))
        return False
    return True


def emit_layers(graph: Graph) -> None:
    """The layers as a TensorRT network, whose shapes and types are those that ours infer; it is not built."""
    tensorrt, log = load(), BuildLog()
    emit_network(graph, layer_map(), tensorrt, tensorrt.module.Builder(make_logger(tensorrt.module, log)), log)


def build_layers(fragment: Fragment, arrays: Sequence[Array]) -> BuildResult:
    """Build the layers with the real TensorRT builder; unknown dimensions get a profile around the arrays' own."""
    erase_dead(fragment.graph)
    profile = {i: _range(v, a) for i, (v, a) in enumerate(zip(fragment.graph.inputs, arrays, strict=True))}
    try:
        return build_plan(fragment.graph, layer_map(), [profile])
    except ConfigError:  # some inputs are shape tensors, whose values TensorRT wants to know
        valued = {i: _with_values(r, arrays[i]) for i, r in profile.items()}
        return build_plan(fragment.graph, layer_map(), [valued])


def _range(value: Value, array: Array) -> InputRange:
    low = [min(1, d) if known is None else d for known, d in zip(value.shape, array.shape, strict=True)]
    high = [d + 3 if known is None else d for known, d in zip(value.shape, array.shape, strict=True)]
    return InputRange(low, array.shape, high)


def _with_values(one: InputRange, array: Array) -> InputRange:
    if array.dtype.name not in ("int32", "int64") or array.ndim > 2:
        return one
    flat = array.reshape(-1)
    return attrs.evolve(one, values=ValueRange(flat, flat, flat))
