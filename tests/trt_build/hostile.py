"""A plugin whose layers harm the process that builds them: they crash, hang or eat memory, always or on some condition."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfgraphopt.hookspecs import hookimpl
from tfgraphopt.ir import DType, Node
from tfgraphopt_trt.builder import LayerBuilder, Operand
from tfgraphopt_trt.converter import Converter, converter
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import layer_map

_PLAIN = layer_map()["trt.activation"]
ONCE = "TFGRAPHOPT_TEST_CRASH_ONCE"
"""Names the file that "crash-once" leaves behind."""


def _crash(node: Node) -> None:
    os.abort()


def _crash_in_half(node: Node) -> None:
    if node.inputs[0].dtype is DType.HALF:
        os.abort()


def _crash_once(node: Node) -> None:
    marker = Path(os.environ[ONCE])
    if not marker.exists():
        marker.touch()
        os.abort()


def _hang(node: Node) -> None:
    time.sleep(600)


def _eat(node: Node) -> None:
    hoard = np.ones(2**27)  # 1 GiB
    time.sleep(60)
    del hoard


def _layer(name: str, harm: Callable[[Node], None]) -> LayerDef:
    def emit(e: Any, node: Node) -> Sequence[Any]:
        harm(node)
        return _PLAIN.emit(e, node)

    return LayerDef(f"hostile.{name}", _PLAIN.infer, _PLAIN.meaning, emit, dict(_PLAIN.defaults), ("x",), "Does harm.")


HARMS = {"Softsign": _crash, "Softplus": _hang, "Selu": _eat, "Elu": _crash_in_half, "Sigmoid": _crash_once}
LAYERS = tuple(_layer(op.lower(), harm) for op, harm in HARMS.items())


@hookimpl
def tfgraphopt_trt_layers() -> Iterable[LayerDef]:
    """The layers."""
    return LAYERS


@converter("Softsign")
def softsign(b: LayerBuilder, features: Operand) -> Operand:
    """Crashes the builder."""
    return b.layer("hostile.softsign", [features], {"type": "softsign", "alpha": 0.0, "beta": 0.0})[0]


@converter("Softplus")
def softplus(b: LayerBuilder, features: Operand) -> Operand:
    """Hangs the builder."""
    return b.layer("hostile.softplus", [features], {"type": "softplus", "alpha": 1.0, "beta": 1.0})[0]


@converter("Selu")
def selu(b: LayerBuilder, features: Operand) -> Operand:
    """Eats memory."""
    values = {"type": "selu", "alpha": 1.6732632, "beta": 1.050701}
    return b.layer("hostile.selu", [features], values)[0]


@converter("Elu")
def elu(b: LayerBuilder, features: Operand) -> Operand:
    """Crashes the builder in half precision."""
    return b.layer("hostile.elu", [features], {"type": "elu", "alpha": 1.0, "beta": 0.0})[0]


@converter("Sigmoid")
def sigmoid(b: LayerBuilder, x: Operand) -> Operand:
    """Crashes the builder once."""
    return b.layer("hostile.sigmoid", [x], {"type": "sigmoid", "alpha": 0.0, "beta": 0.0})[0]


@hookimpl
def tfgraphopt_trt_converters() -> Iterable[Converter]:
    """Their converters."""
    return [softsign, softplus, selu, elu, sigmoid]
