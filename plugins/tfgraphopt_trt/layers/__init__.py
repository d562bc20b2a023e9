"""The layers of the ``trt`` dialect: one family a file, each exporting ``LAYERS``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from tfgraphopt.ir import OpTable
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.layers import (
    attention,
    basics,
    control,
    convolution,
    elementwise,
    gathering,
    grids,
    layout,
    linear,
    normalisation,
    pooling,
    quantisation,
    reduction,
    sampling,
    selection,
    sequences,
    slicing,
)  # fmt: skip

_FAMILIES = (
    attention, basics, control, convolution, elementwise, gathering, grids, layout, linear, normalisation, pooling,
    quantisation, reduction, sampling, selection, sequences, slicing,
)  # fmt: skip


def all_layers() -> tuple[LayerDef, ...]:
    """Every layer that comes with this package."""
    return tuple(layer for family in _FAMILIES for layer in family.LAYERS)


def layer_table(layers: Iterable[LayerDef] | None = None) -> OpTable:
    """The op definitions of ``layers`` (all that come with the package by default), for a ``trt`` graph."""
    return OpTable(layer.op_def() for layer in (all_layers() if layers is None else layers))


def layer_map(layers: Iterable[LayerDef] | None = None) -> Mapping[str, LayerDef]:
    """``layers`` by op name, read-only."""
    return MappingProxyType({layer.op: layer for layer in (all_layers() if layers is None else layers)})
