"""Lists of tensors (TensorArray, TensorList): inside an engine the elements of a list are one tensor with a first axis more.

A list is never an input or output of an engine; the nodes that share one are converted together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from tfgraphopt.ir import Dim, DType, Tensor, Value
from tfgraphopt_converters import sizes
from tfgraphopt_converters.dtypes import INTEGERS
from tfgraphopt_converters.sizes import Size
from tfgraphopt_trt.builder import Compound, LayerBuilder, Operand, Unsupported
from tfgraphopt_trt.converter import Argument, Converter, Weights, converter


@attrs.frozen(slots=True, eq=False)
class Stacked(Compound):
    """A list whose elements are the slices of one tensor along its first axis."""

    what: ClassVar[str] = "a list of tensors"
    elements: Value


@attrs.frozen(slots=True, eq=False)
class Reserved(Compound):
    """A list that nothing was written to.

    Attributes:
        dtype: of the elements.
        count: how many there are: a number, or an integer scalar.
        dims: of an element, as far as TensorFlow knows them.
    """

    what: ClassVar[str] = "a list of tensors"
    dtype: DType
    count: int | Value
    dims: tuple[Dim, ...] | None = None


@attrs.frozen(slots=True, eq=False)
class Collecting(Compound):
    """A list in the body of a loop that only writes it."""

    what: ClassVar[str] = "a list of tensors"
    source: Reserved


@attrs.frozen(slots=True, eq=False)
class Collected(Compound):
    """A list in the body of a loop after its one write of ``item`` at ``index`` (None: behind the last)."""

    what: ClassVar[str] = "a list of tensors"
    source: Reserved
    index: Value | None
    item: Value


_READ_AND_WRITTEN = "the loop reads the list that it writes, or writes it more than once a trip"


def stacked(b: LayerBuilder, given: Argument) -> Value:
    """The elements of a list as one tensor; Unsupported when what was not written has no known shape."""
    if isinstance(given, Stacked):
        return given.elements
    if not isinstance(given, Reserved):
        raise Unsupported(_READ_AND_WRITTEN)
    if given.dims is None or None in given.dims:
        raise Unsupported("the shape of the list's elements is not known before they are written")
    return _zeros(b, given, [d for d in given.dims if d is not None])


def count_of(b: LayerBuilder, given: Reserved) -> Size:
    """The number of elements."""
    return given.count if isinstance(given.count, int) else sizes.elements(b, given.count)[0]


def _zeros(b: LayerBuilder, given: Reserved, dims: Sequence[Size]) -> Value:
    zero = Tensor.of(np.zeros((), given.dtype.np), given.dtype)
    return sizes.filled(b, zero, [count_of(b, given), *dims])


def _dims(shape: Tensor | Value) -> tuple[Dim, ...] | None:
    """The dimensions of a list's elements; a scalar says that nothing is known."""
    if not isinstance(shape, Tensor) or shape.shape.rank == 0:
        return None
    return tuple(None if n < 0 else int(n) for n in shape.numpy())


def _index(b: LayerBuilder, index: Value) -> Value:
    return index if index.dtype in INTEGERS else b.cast(index, DType.INT32)


@converter("TensorListFromTensor")
def from_tensor(b: LayerBuilder, tensor: Operand) -> Argument:
    """The tensor itself: its slices are the elements."""
    if not tensor.shape.rank:
        raise Unsupported("a scalar has no slices that could be the elements of a list")
    return Stacked(tensor)


@converter("TensorListReserve")
def reserve(
    b: LayerBuilder, element_shape: Weights | Operand, num_elements: Weights | Operand, *, element_dtype: DType
) -> Argument:
    """A list without contents; it becomes a tensor where it is written."""
    count = int(num_elements.item()) if isinstance(num_elements, Tensor) else num_elements
    return Reserved(element_dtype, count, _dims(element_shape))


@converter("EmptyTensorList")
def empty(b: LayerBuilder, element_shape: Weights | Operand, *, element_dtype: DType) -> Argument:
    """A list of no elements."""
    return Reserved(element_dtype, 0, _dims(element_shape))


@converter("TensorListGetItem")
def get_item(b: LayerBuilder, input_handle: Argument, index: Operand) -> Value:
    """A gather. An index out of range, an error in TensorFlow, is not noticed."""
    return b.gather(stacked(b, input_handle), _index(b, index), 0)


@converter("TensorListGather")
def gather(b: LayerBuilder, input_handle: Argument, indices: Operand) -> Value:
    """A gather. Indices out of range, an error in TensorFlow, are not noticed."""
    return b.gather(stacked(b, input_handle), _index(b, indices), 0)


@converter("TensorListSetItem")
def set_item(
    b: LayerBuilder,
    input_handle: Argument,
    index: Operand,
    item: Operand,
    *,
    resize_if_index_out_of_bounds: bool = False,
) -> Argument:
    """A scatter into the elements; in a loop that only writes the list, a result that the loop stacks."""
    if resize_if_index_out_of_bounds:
        raise Unsupported("the list grows when an index is beyond its end; TensorRT must know its length")
    if isinstance(input_handle, Collecting):
        return Collected(input_handle.source, _index(b, index), item)
    if isinstance(input_handle, Reserved):
        elements = _zeros(b, input_handle, sizes.sizes_of(b, item))
    else:
        elements = stacked(b, input_handle)
    place = b.reshape(_index(b, index), (1, 1))
    return Stacked(b.scatter(elements, place, b.unsqueeze(item, (0,))))


@converter("TensorListPushBack")
def push_back(b: LayerBuilder, input_handle: Argument, tensor: Operand) -> Argument:
    """A concatenation; in a loop that only writes the list, a result that the loop stacks."""
    if isinstance(input_handle, Collecting):
        return Collected(input_handle.source, None, tensor)
    row = b.unsqueeze(tensor, (0,))
    if isinstance(input_handle, Reserved) and input_handle.count == 0:
        return Stacked(row)
    return Stacked(b.concatenation([stacked(b, input_handle), row], 0))


@converter("TensorListStack")
def stack(b: LayerBuilder, input_handle: Argument) -> Value:
    """The tensor of the elements. Elements that were never written are zeros, as in TensorFlow, of the shape of the others."""
    return stacked(b, input_handle)


@converter("TensorListLength")
def length(b: LayerBuilder, input_handle: Argument) -> Value:
    """The number of elements."""
    if isinstance(input_handle, Reserved):
        return sizes.scalar_of(b, count_of(b, input_handle), DType.INT32)
    return sizes.scalar_of(b, sizes.size_of(b, stacked(b, input_handle), 0), DType.INT32)


REFUSED = ("TensorListPopBack", "TensorListConcatV2", "TensorListSplit", "TensorListScatterV2", "TensorListResize")
"""Ops on lists whose elements differ in shape, or whose length the data decides."""


@converter(*REFUSED)
def other(b: LayerBuilder) -> Any:
    """Refused: elements of several shapes, or a length that changes, have no place in one tensor."""
    raise Unsupported("the elements of a list in an engine have one shape, and their number is fixed")


CONVERTERS: tuple[Converter, ...] = (
    from_tensor, reserve, empty, get_item, gather, set_item, push_back, stack, length, other,
)  # fmt: skip
