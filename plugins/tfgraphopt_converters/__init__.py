"""Converters from TensorFlow ops to ``trt.*`` layers: one module a family, each exporting ``CONVERTERS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfgraphopt_trt.converter import Converter


def all_converters() -> tuple[Converter, ...]:
    """Every converter of this package, family by family; the families are imported by the first call."""
    from tfgraphopt_converters import (
        activation,
        binary,
        composites,
        constants,
        control,
        control_flow,
        convolution,
        cudnn,
        diagonals,
        einsum,
        gathering,
        identity,
        matmul,
        morphology,
        normalization,
        padding,
        pooling,
        recurrent,
        reduction,
        resize,
        scan,
        selection,
        shapes,
        slicing,
        spatial,
        tensor_lists,
        transposed_convolution,
        unary,
    )  # fmt: skip

    families = (
        activation, binary, constants, control, control_flow, convolution, cudnn, diagonals, einsum, gathering, identity,
        matmul, morphology, normalization, padding, pooling, recurrent, reduction, resize, scan, selection, shapes,
        slicing, spatial, tensor_lists, transposed_convolution, unary,
    )  # fmt: skip
    return (*(c for family in families for c in family.CONVERTERS), *composites.all_converters())
