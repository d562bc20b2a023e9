"""Data types, shapes and tensor types: immutable, hashable, equal by value."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import ml_dtypes
import numpy as np

Dim = int | None


class DType(enum.Enum):
    """An element type; ``value`` is TensorFlow's own number for it, ``text`` the IR's short name."""

    FLOAT = (1, "f32", "float32", np.float32)
    DOUBLE = (2, "f64", "float64", np.float64)
    INT32 = (3, "i32", "int32", np.int32)
    UINT8 = (4, "u8", "uint8", np.uint8)
    INT16 = (5, "i16", "int16", np.int16)
    INT8 = (6, "i8", "int8", np.int8)
    STRING = (7, "str", "string", np.object_)
    COMPLEX64 = (8, "c64", "complex64", np.complex64)
    INT64 = (9, "i64", "int64", np.int64)
    BOOL = (10, "bool", "bool", np.bool_)
    QINT8 = (11, "qi8", "qint8", np.int8)
    QUINT8 = (12, "qu8", "quint8", np.uint8)
    QINT32 = (13, "qi32", "qint32", np.int32)
    BFLOAT16 = (14, "bf16", "bfloat16", ml_dtypes.bfloat16)
    QINT16 = (15, "qi16", "qint16", np.int16)
    QUINT16 = (16, "qu16", "quint16", np.uint16)
    UINT16 = (17, "u16", "uint16", np.uint16)
    COMPLEX128 = (18, "c128", "complex128", np.complex128)
    HALF = (19, "f16", "float16", np.float16)
    RESOURCE = (20, "resource", "resource", None)
    VARIANT = (21, "variant", "variant", None)
    UINT32 = (22, "u32", "uint32", np.uint32)
    UINT64 = (23, "u64", "uint64", np.uint64)
    FLOAT8_E5M2 = (24, "f8e5m2", "float8_e5m2", ml_dtypes.float8_e5m2)
    FLOAT8_E4M3FN = (25, "f8e4m3", "float8_e4m3fn", ml_dtypes.float8_e4m3fn)
    INT4 = (29, "i4", "int4", ml_dtypes.int4)
    UINT4 = (30, "u4", "uint4", ml_dtypes.uint4)

    number: int
    text: str
    tf_name: str

    def __init__(self, number: int, text: str, tf_name: str, scalar: Any) -> None:
        self.number = number
        self.text = text
        self.tf_name = tf_name
        self._scalar = scalar

    @property
    def np(self) -> np.dtype[Any]:
        """The numpy dtype of an element; TypeError for resource and variant."""
        if self._scalar is None:
            raise TypeError(f"{self.tf_name} has no numpy dtype")
        dtype: np.dtype[Any] = np.dtype(self._scalar)
        return dtype

    @property
    def has_numpy(self) -> bool:
        """Whether elements of this type can live in a numpy array."""
        return self._scalar is not None

    @property
    def size(self) -> int:
        """Bytes of one element as it is stored (pointer-sized for strings, 0 for handles)."""
        return self.np.itemsize if self.has_numpy else 0

    @property
    def is_floating(self) -> bool:
        """Whether this is a binary floating-point type (8 to 64 bits)."""
        return self in _FLOATING

    @property
    def is_integer(self) -> bool:
        """Whether this is a plain (not quantised) integer type."""
        return self in _INTEGER

    @classmethod
    def of_number(cls, number: int) -> DType:
        """The type with TensorFlow's enum ``number``; ValueError when there is none."""
        return _lookup("number", number)

    @classmethod
    def of_text(cls, text: str) -> DType:
        """The type with the IR's short name ``text``."""
        return _lookup("text", text)

    @classmethod
    def of_numpy(cls, dtype: Any) -> DType:
        """The type of elements of numpy ``dtype`` (text arrays are strings)."""
        dtype = np.dtype(dtype)
        if dtype.kind in "OSU":
            return cls.STRING
        return _lookup("np", dtype)

    def __repr__(self) -> str:
        return f"DType.{self.name}"

    def __str__(self) -> str:
        return self.text


_FLOATING = frozenset({DType.FLOAT, DType.DOUBLE, DType.HALF, DType.BFLOAT16, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN})
_INTEGER = frozenset(
    {DType.INT8, DType.INT16, DType.INT32, DType.INT64, DType.UINT8, DType.UINT16, DType.UINT32, DType.UINT64}
    | {DType.INT4, DType.UINT4}
)


@functools.cache
def _lookup(key: str, value: object) -> DType:
    for member in DType:
        if key == "np" and (not member.has_numpy or member.name.startswith("Q")):
            continue  # quantised types share their numpy dtypes with the plain ones, which are meant
        if getattr(member, key) == value:
            return member
    raise ValueError(f"no tensor type has {key} {value!r}")


def _dims(dims: Iterable[int | None] | None) -> tuple[Dim, ...] | None:
    if dims is None:
        return None
    return tuple(None if d is None or int(d) < 0 else int(d) for d in dims)


@attrs.frozen(slots=True, repr=False)
class Shape:
    """The shape of a tensor: ``dims`` is None for an unknown rank, and a dimension is None when unknown."""

    dims: tuple[Dim, ...] | None = attrs.field(default=None, converter=_dims)

    @property
    def rank(self) -> int | None:
        """Number of dimensions, or None."""
        return None if self.dims is None else len(self.dims)

    @property
    def is_static(self) -> bool:
        """Whether rank and every dimension are known."""
        return self.dims is not None and None not in self.dims

    @property
    def num_elements(self) -> int | None:
        """Number of elements, or None when it is not known."""
        if self.dims is None or None in self.dims:
            return None
        return int(np.prod([d for d in self.dims if d is not None], dtype=np.int64))

    def known(self) -> tuple[Dim, ...]:
        """The dimensions; ValueError when the rank is unknown."""
        if self.dims is None:
            raise ValueError("the rank is unknown")
        return self.dims

    def static(self) -> tuple[int, ...]:
        """The dimensions as integers; ValueError when any is unknown."""
        dims = self.known()
        if not self.is_static:
            raise ValueError(f"shape {self} is not fully known")
        return tuple(d for d in dims if d is not None)

    def compatible(self, other: Shape) -> bool:
        """Whether one tensor could have both shapes."""
        if self.dims is None or other.dims is None:
            return True
        return len(self.dims) == len(other.dims) and all(
            a is None or b is None or a == b for a, b in zip(self.dims, other.dims, strict=True)
        )

    def merge(self, other: Shape) -> Shape:
        """The shape that knows what either knows; ValueError when they contradict each other."""
        if not self.compatible(other):
            raise ValueError(f"shapes {self} and {other} contradict each other")
        if self.dims is None or other.dims is None:
            return self if other.dims is None else other
        return Shape(b if a is None else a for a, b in zip(self.dims, other.dims, strict=True))

    def __iter__(self) -> Iterator[Dim]:
        return iter(self.known())

    def __len__(self) -> int:
        return len(self.known())

    def __getitem__(self, index: int) -> Dim:
        return self.known()[index]

    def __str__(self) -> str:
        if self.dims is None:
            return "[*]"
        return "[" + ",".join("?" if d is None else str(d) for d in self.dims) + "]"

    __repr__ = __str__


UNKNOWN_SHAPE = Shape(None)
SCALAR = Shape(())


@attrs.frozen(slots=True, repr=False)
class TensorType:
    """What is known of a tensor before it exists: element type and shape."""

    dtype: DType
    shape: Shape = UNKNOWN_SHAPE

    @property
    def rank(self) -> int | None:
        """Number of dimensions, or None."""
        return self.shape.rank

    @property
    def num_bytes(self) -> int | None:
        """Bytes of such a tensor, or None when its shape is not fully known."""
        count = self.shape.num_elements
        return None if count is None else count * self.dtype.size

    def with_shape(self, shape: Shape) -> TensorType:
        """The same element type with another shape."""
        return TensorType(self.dtype, shape)

    def __str__(self) -> str:
        return f"{self.dtype}{self.shape}"

    __repr__ = __str__
