"""A plugin whose Softsign layer TensorRT refuses in float16 when it comes to building, though its type rule takes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.ir import DType, Node
from tfgraphopt_precision import Objection, PrecisionRule
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter
from tfgraphopt_trt.layerdef import LayerDef, LayerError
from tfgraphopt_trt.layers import layer_map

_PLAIN = layer_map()["trt.activation"]


def _emit(e: Any, node: Node) -> Sequence[Any]:
    if node.inputs[0].dtype is not DType.FLOAT:
        raise LayerError("no kernel in this precision")
    return _PLAIN.emit(e, node)


FUSSY = LayerDef(
    "fussy.softsign", _PLAIN.infer, _PLAIN.meaning, _emit, dict(_PLAIN.defaults), ("x",), "Softsign in float32."
)


@converter("Softsign")
def softsign(b: LayerBuilder, features: Operand) -> Operand:
    """Softsign by the fussy layer."""
    return b.layer("fussy.softsign", [features], {"type": "softsign", "alpha": 0.0, "beta": 0.0})[0]


@hookimpl
def tfgraphopt_trt_layers() -> Iterable[LayerDef]:
    """The layer."""
    return [FUSSY]


@hookimpl
def tfgraphopt_trt_converters() -> Iterable[Converter]:
    """Its converter."""
    return [softsign]


@hookimpl
def tfgraphopt_precision_rules() -> Iterable[PrecisionRule]:
    """A third party's rule."""
    return [PrecisionRule("no-tanh", _no_tanh, ("trt.activation",))]


def _no_tanh(node: Node, around: object) -> Objection | None:
    return Objection("tanh is dear to us") if node.attrs["type"] == "tanh" else None
