"""Constant tensors whose bytes are read only when somebody asks for them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from tfgraphopt.ir.types import DType, Shape, TensorType

Array = npt.NDArray[Any]


class Tensor:
    """An immutable tensor value: type known at once, elements decoded on first use, equal by content.

    ``source`` may hold the object the value came from: the protobuf of an imported weight, so that it is exported without being
    decoded or copied, or the :class:`View` that it is of another tensor. Views decode nothing until they are read.
    """

    __slots__ = ("_array", "_digest", "_load", "dtype", "shape", "source")

    def __init__(self, dtype: DType, shape: Shape, load: Callable[[], Array], source: object = None) -> None:
        if not shape.is_static:
            raise ValueError(f"a tensor value needs a fully known shape, not {shape}")
        self.dtype = dtype
        self.shape = shape
        self.source = source
        self._load: Callable[[], Array] | None = load
        self._array: Array | None = None
        self._digest: str | None = None

    @classmethod
    def of(cls, value: Any, dtype: DType | None = None) -> Tensor:
        """The tensor of a numpy array, a scalar or nested sequences; numbers keep numpy's type unless ``dtype`` says.

        Texts are stored as UTF-8 bytes, which is what TensorFlow's strings are.
        """
        array = np.asarray(value, dtype=None if dtype is None else dtype.np)
        if array.dtype.kind in "SU":
            array = np.asarray(value, dtype=np.object_)  # numpy's own texts lose zero bytes at their end
        kind = dtype or DType.of_numpy(array.dtype)
        if kind is DType.STRING:
            array = _encoded(array)
        array = array.view()
        array.flags.writeable = False
        return cls(kind, Shape(array.shape), lambda: array)

    def numpy(self) -> Array:
        """The elements, read-only; decoded on the first call and kept."""
        if self._array is None:
            assert self._load is not None
            array = np.asarray(self._load()).view()
            if array.shape != self.shape.static() or array.dtype != self.dtype.np:
                raise ValueError(f"the elements are {array.dtype}{array.shape}, announced as {self.type}")
            array.flags.writeable = False
            self._array, self._load = array, None
        return self._array

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return TensorType(self.dtype, self.shape)

    @property
    def num_elements(self) -> int:
        """Number of elements."""
        return self.shape.num_elements or 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the elements as stored in memory."""
        return self.num_elements * self.dtype.size

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over type, shape and elements."""
        if self._digest is None:
            state = hashlib.sha256(str(self.type).encode())
            state.update(self._content())
            self._digest = state.hexdigest()
        return self._digest

    def _content(self) -> Any:
        if not self.dtype.has_numpy:  # handles: nobody but the importer knows what is in them
            return repr(self.source).encode()
        if self.dtype is DType.STRING:
            return repr(self.tolist()).encode()
        return np.ascontiguousarray(self.numpy()).reshape(-1).view(np.uint8).data

    def transpose(self, perm: Sequence[int]) -> Tensor:
        """This tensor with its axes permuted; nothing is decoded yet."""
        dims = self.shape.static()
        view = View(self, "Transpose", tuple(perm))
        return self._view(Shape(dims[p] for p in perm), lambda array: array.transpose(tuple(perm)), view)

    def reshape(self, dims: Sequence[int]) -> Tensor:
        """This tensor with other (fully given) dimensions; nothing is decoded yet."""
        return self._view(Shape(dims), lambda array: array.reshape(tuple(dims)), View(self, "Reshape", tuple(dims)))

    def astype(self, dtype: DType) -> Tensor:
        """This tensor in another element type, converted when read."""
        if dtype is self.dtype:
            return self
        return Tensor(dtype, self.shape, lambda: _converted(self.numpy(), dtype), View(self, "Cast", dtype))

    def _view(self, shape: Shape, change: Callable[[Array], Array], view: View) -> Tensor:
        return Tensor(self.dtype, shape, functools.partial(_apply, change, self), view)

    def item(self) -> Any:
        """The only element as a Python value; ValueError when there are more."""
        return self.numpy().item()

    def tolist(self) -> Any:
        """The elements as nested Python lists (a scalar for rank 0)."""
        return self.numpy().tolist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tensor):
            return NotImplemented
        return self is other or (self.type == other.type and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape))

    def __repr__(self) -> str:
        return f"Tensor({self.type})"


@attrs.frozen(slots=True, eq=False)
class View:
    """How a tensor follows from another: by one TensorFlow op with a constant operand.

    Attributes:
        base: the other tensor.
        op: ``Reshape``, ``Transpose`` or ``Cast``.
        operand: the dimensions, the permutation, or the element type.
    """

    base: Tensor = attrs.field(repr=False)
    op: str
    operand: tuple[int, ...] | DType


def _encoded(array: Array) -> Array:
    encoded = np.empty(array.shape, np.object_)
    for index, item in np.ndenumerate(array):
        encoded[index] = item.encode() if isinstance(item, str) else bytes(item)
    return encoded


def _converted(array: Array, dtype: DType) -> Array:
    with np.errstate(over="ignore"):  # numbers too large for the new type are infinite, as in TensorFlow
        return array.astype(dtype.np)


def _apply(change: Callable[[Array], Array], tensor: Tensor) -> Array:
    return change(tensor.numpy())
