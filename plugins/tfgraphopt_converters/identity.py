"""Ops that pass a tensor on: identities, run-time checks, and changes of element type."""

from __future__ import annotations

from collections.abc import Sequence

from tfgraphopt.ir import DType, Shape, Value
from tfgraphopt_converters.dtypes import FLOATS
from tfgraphopt_trt.builder import LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import TENSORRT_DTYPES, Argument, Arguments, converter, never


@converter(
    "Identity",
    "Snapshot",
    "StopGradient",
    "PreventGradient",
    "GuaranteeConst",
    "Conj",
    "_CopyFromHostToGpu",
    "_CopyFromGpuToHost",
)
def identity(b: LayerBuilder, input: Argument) -> Argument:
    """The operand itself: no layer. (Conj: TensorRT has real numbers only.)"""
    return input


@converter("DeepCopy")
def deep_copy(b: LayerBuilder, x: Operand) -> Value:
    """The operand itself: no layer."""
    return x


@converter("IdentityN")
def identity_n(b: LayerBuilder, input: Arguments) -> Sequence[Argument]:
    """The operands themselves: no layer."""
    return input


@converter("CheckNumerics", "CheckNumericsV2")
def check_numerics(b: LayerBuilder, tensor: Operand) -> Value:
    """The operand itself. Deviation: an engine raises no error for NaN and infinity; it passes them on."""
    return tensor


@converter("EnsureShape")
def ensure_shape(b: LayerBuilder, input: Operand, *, shape: Shape) -> Value:
    """The operand; a reshape to the announced dimensions where TensorFlow had to check them at run time.

    TensorRT then fails at run time when the number of elements is another one. Deviation: dimensions that differ but
    have the same product are not noticed.
    """
    if shape.dims is None:
        return input
    known = input.shape.merge(shape)
    if known == input.shape:
        return input
    return b.reshape(input, [0 if d is None else d for d in known.known()])


placeholder_with_default = never("it is an input of the graph, which the caller may feed", "PlaceholderWithDefault")


@converter("Cast")
def cast(b: LayerBuilder, x: Operand, *, DstT: DType, Truncate: bool) -> Value:
    """A cast between any two of TensorRT's element types; uint8 only as an operand.

    Floats become integers by truncation towards zero, numbers become bool by ``!= 0``. What TensorFlow leaves to the
    machine stays undefined: floats beyond the integer's range, and NaN, as integers.
    """
    if DstT not in TENSORRT_DTYPES:
        raise Unsupported(f"TensorRT has no {DstT.tf_name} tensors")
    if DstT is DType.UINT8 and x.dtype is not DType.UINT8:
        raise Unsupported("TensorRT has uint8 tensors only at the inputs and outputs of a network")
    if Truncate and x.dtype in FLOATS and DstT in FLOATS and DstT is not DType.FLOAT and x.dtype is not DstT:
        raise Unsupported("TensorRT rounds floats to the nearest; Truncate=True wants them truncated")
    return b.cast(x, DstT)


@converter("Bitcast")
def bitcast(b: LayerBuilder, input: Operand, *, type: DType) -> Value:
    """The operand itself when the type stays; refused otherwise."""
    if type is not input.dtype:
        raise Unsupported("TensorRT has no layer that reads the bits of one element type as another")
    return input


CONVERTERS = (
    identity, deep_copy, identity_n, check_numerics, ensure_shape, placeholder_with_default, cast, bitcast,
)  # fmt: skip
