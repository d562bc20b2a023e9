"""Layers that move no numbers, or move them twice: identities, casts, reshapes, transposes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs

from tfgraphopt.ir import Dim, DType, Node, Value
from tfgraphopt.rewrite import Draft, Match, NoMatch, Pattern, PatternOps
from tfgraphopt_trt.dimensions import Entry, dimension
from tfgraphopt_trt.simplify.steps import HOST

TRANSPOSE, RESHAPE, CAST, REDUCE = "trt.transpose", "trt.reshape", "trt.cast", "trt.reduce"
RESHAPING = (RESHAPE, "trt.squeeze", "trt.unsqueeze")

_EXACT: Mapping[DType, frozenset[DType]] = {
    DType.HALF: frozenset({DType.FLOAT}),
    DType.BFLOAT16: frozenset({DType.FLOAT}),
    DType.INT32: frozenset({DType.INT64}),
    DType.INT8: frozenset({DType.HALF, DType.BFLOAT16, DType.FLOAT, DType.INT32, DType.INT64}),
    DType.UINT8: frozenset({DType.HALF, DType.BFLOAT16, DType.FLOAT, DType.INT32, DType.INT64}),
    DType.BOOL: frozenset({DType.HALF, DType.BFLOAT16, DType.FLOAT, DType.INT32, DType.INT64, DType.INT8, DType.UINT8}),
}
"""Types that hold every number of another one."""


@attrs.frozen(slots=True)
class DropIdentity(Pattern):
    """A copy is the tensor itself."""

    name: ClassVar[str] = "trt-drop-copy"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """An identity layer."""
        return op["trt.identity"](x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The operand."""
        return m.x


@attrs.frozen(slots=True)
class MergeCasts(Pattern):
    """A cast to the type a tensor has is nothing; one of a cast that lost nothing reads the original."""

    name: ClassVar[str] = "trt-merge-casts"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A cast."""
        return op[CAST](x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The original, or one cast of it."""
        to, inner = m.root.output.dtype, m.x.producer
        if m.x.dtype is to:
            return m.x
        if inner is None or inner.op != CAST:
            raise NoMatch("its operand is no cast")
        source = inner.inputs[0]
        if m.x.dtype not in _EXACT.get(source.dtype, ()):
            raise NoMatch("the first cast may lose something")
        return source if source.dtype is to else op[CAST](source, to=to)


@attrs.frozen(slots=True)
class MergeTransposes(Pattern):
    """Two transposes in a row are one, or none."""

    name: ClassVar[str] = "trt-merge-transposes"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A transpose."""
        return op[TRANSPOSE](x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The transpose of the original."""
        perm: Any = m.root.attrs["perm"]
        inner, source = m.x.producer, m.x
        if inner is not None and inner.op == TRANSPOSE:
            first: Any = inner.attrs["perm"]
            perm, source = tuple(first[p] for p in perm), inner.inputs[0]
        if perm == tuple(range(len(perm))):
            return source
        if source is m.x:
            raise NoMatch("its operand is no transpose")
        return op[TRANSPOSE](source, perm=perm)


# -- reshapes --------------------------------------------------------------------------------------------------------


def reshape_dims(source: Value, result: Sequence[Entry]) -> tuple[int, ...]:
    """The ``dims`` of a reshape of ``source`` to ``result``; NoMatch when they cannot be written as numbers."""
    dims = [_written(source, place, entry) for place, entry in enumerate(result)]
    if dims.count(-1) > 1 or (-1 in dims and any(e == 0 for e in result)):
        raise NoMatch("more than one dimension is known only at run time")
    return tuple(dims)


def _written(source: Value, place: int, entry: Entry) -> int:
    if isinstance(entry, int) and entry != 0:
        return entry
    if place < len(source.shape) and entry is not None and dimension(source, place) == entry:
        return 0
    if entry == 0:
        raise NoMatch("an empty tensor")
    return -1


def _result(value: Value) -> list[Entry]:
    """The dimensions of a reshape's result, traced where they are copies of its operand's."""
    node = value.producer
    given: Any = None if node is None else node.attrs.get("dims")
    found: list[Entry] = []
    for place, dim in enumerate(value.shape.known()):
        copied = node is not None and node.op == RESHAPE and given is not None and given[place] == 0
        found.append(
            dim if dim is not None else dimension(node.inputs[0], place) if copied and node is not None else None
        )
    return _with_rest(value, found)


def _with_rest(value: Value, found: list[Entry]) -> list[Entry]:
    """The only untraced dimension equals the only unknown one of the operand, when all others are numbers with equal products."""
    node = value.producer
    if node is None or found.count(None) != 1:
        return found
    source = [dimension(node.inputs[0], i) for i in range(len(node.inputs[0].shape))]
    unknown = [e for e in source if not isinstance(e, int)]
    numbers = [e for e in found if isinstance(e, int)]
    if len(unknown) != 1 or len(numbers) != len(found) - 1:
        return found
    if _product(e for e in source if isinstance(e, int)) != _product(numbers) or 0 in source:
        return found
    return [unknown[0] if e is None else e for e in found]


def _product(numbers: Any) -> int:
    total = 1
    for number in numbers:
        total *= number
    return total


def _same(source: Value, result: Sequence[Entry]) -> bool:
    """Whether ``source`` has exactly the dimensions ``result``."""
    if len(source.shape) != len(result):
        return False
    return all(e is not None and e == dimension(source, i) for i, e in enumerate(result))


@attrs.frozen(slots=True)
class MergeReshapes(Pattern):
    """Of reshapes in a row only the last counts; one to the shape that a tensor has is nothing."""

    name: ClassVar[str] = "trt-merge-reshapes"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A reshape of any kind."""
        return op[RESHAPING](x, ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """One reshape, or none."""
        source, inner = m.x, m.x.producer
        result = _result(m.root.output)
        if inner is not None and inner.op in RESHAPING:
            source = inner.inputs[0]
        if _same(source, result):
            return source
        if source is m.x and (len(m.root.inputs) == 1 or m.root.op != RESHAPE):
            raise NoMatch("its operand is no reshape")
        dims = reshape_dims(source, result)
        if len(m.root.inputs) == 2 and dims.count(-1) > 0 and None in [e for e in result if e is None][1:]:
            raise NoMatch("more than one dimension is known only at run time")
        return op[RESHAPE](source, dims=dims, like=m.root.output)


@attrs.frozen(slots=True)
class StillTranspose(Pattern):
    """A transpose that only moves axes of size one, next to a reshape, is a reshape."""

    name: ClassVar[str] = "trt-reshape-from-transpose"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps, x: Value) -> Any:
        """A transpose."""
        return op[TRANSPOSE](x)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The reshape to the permuted dimensions."""
        perm: Any = m.root.attrs["perm"]
        dims: tuple[Dim, ...] = m.x.shape.known()
        order = [p for p in perm if dims[p] != 1]
        if order != sorted(order):
            raise NoMatch("it moves numbers")
        neighbours = [m.x.producer, *m.root.users]
        if not any(n is not None and n.op in (*RESHAPING, REDUCE) for n in neighbours):
            raise NoMatch("no reshape is next to it")
        return op[RESHAPE](m.x, dims=reshape_dims(m.x, [dimension(m.x, p) for p in perm]), like=m.root.output)


@attrs.frozen(slots=True)
class KeepReduced(Pattern):
    """A reduction whose axes of size one are put in or taken out afterwards keeps or drops them itself."""

    name: ClassVar[str] = "trt-keep-reduced-axes"
    host: ClassVar[str] = HOST

    def pattern(self, op: PatternOps) -> Any:
        """A reshape of a reduction."""
        return op[RESHAPING](op[REDUCE](...).named("reduce"), ...)

    def rewrite(self, op: Draft, m: Match) -> Any:
        """The reduction that gives this shape."""
        node: Node = m.reduce
        x, axes = node.inputs[0], node.attrs["axes"]
        assert isinstance(axes, tuple)
        keep = not node.attrs["keep_dims"]
        whole = [1 if i in axes else dimension(x, i) for i in range(len(x.shape))]
        wanted = whole if keep else [e for i, e in enumerate(whole) if i not in axes]
        made = self._traced(m.root.output, node.output, x, axes, node)
        if made != wanted or any(e is None for e in wanted):
            raise NoMatch("the reshape does something else")
        return op[REDUCE](x, **{**node.attrs, "keep_dims": keep}, like=m.root.output)

    def _traced(self, result: Value, between: Value, x: Value, axes: tuple[int, ...], node: Node) -> list[Entry]:
        """The result's dimensions in terms of the dimensions of ``x``."""
        kept = [i for i in range(len(x.shape)) if node.attrs["keep_dims"] or i not in axes]
        sources = {dimension(between, j): 1 if i in axes else dimension(x, i) for j, i in enumerate(kept)}
        return [sources.get(e, e) if not isinstance(e, int) else e for e in _result(result)]


PATTERNS: Sequence[Pattern] = (
    DropIdentity(), MergeCasts(), MergeTransposes(), MergeReshapes(), StillTranspose(), KeepReduced(),
)  # fmt: skip
