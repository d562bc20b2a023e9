"""The profiles of segments: what the shapes of the model's inputs mean for every tensor inside.

Nobody knows the shapes in the middle of a model, so TensorFlow's shape functions are asked at points of every profile: at
minimum, optimum and maximum, and at a few in between, since an inner dimension may fall where an input grows (padding to a multiple)
or depend on two dimensions that vary on their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs
import numpy as np

from tfgraphopt.config import Config, shape_points, value_points
from tfgraphopt.errors import GraphDefError
from tfgraphopt.graphdef import Inferred, infer_at
from tfgraphopt.ir import DType, FuncRef, Graph, Node, Shape, Tensor, Value
from tfgraphopt.transforms.dead_code import FED
from tfgraphopt_trt.collected_rows import collector_of, lacks_rows_only
from tfgraphopt_trt.profiles import InputRange, Profile, ValueRange

Dims = tuple[int, ...]
Point = Mapping[str, Dims]
"""The shape of every input of the model."""

MOST_AXES = 3
"""Corners are looked at for up to this many dimensions that vary on their own."""
_INTEGERS = frozenset({DType.INT32, DType.INT64})


Key = tuple[str, int]
"""A tensor by the name of its node and its index: nodes go into functions and come back, names stay."""


@attrs.frozen(slots=True)
class _Known:
    """What is known of every tensor at one point."""

    shapes: Mapping[Key, Shape]
    elements: Mapping[Key, Dims]

    @classmethod
    def of(cls, found: Inferred) -> _Known:
        return cls({_key(v): s for v, s in found.shapes.items()}, {_key(v): e for v, e in found.elements.items()})


def _key(value: Value) -> Key:
    return (value.producer.name if value.producer is not None else "", value.index)


@attrs.frozen(slots=True)
class _Row:
    """What was inferred for one profile: at minimum, optimum and maximum; and wherever TensorFlow takes the shapes in between."""

    main: tuple[_Known, _Known, _Known]
    between: tuple[_Known, ...]
    batch: tuple[int, int, int] | None = None
    """What may be taken for the size of axes that nobody knows."""

    def range_of(self, key: Key) -> InputRange | None:
        """The range of a tensor's shape (and elements, for what may be a shape tensor); None when it is not known."""
        main = _static(self.main, key)
        if len(main) < len(self.main) or len({len(d) for d in main}) > 1:
            return None
        others = [d for d in _static(self.between, key) if len(d) == len(main[0])]
        return InputRange(*_spread(main, others), self._elements(key))

    def known(self, key: Key, value: Value) -> InputRange | None:
        """The range of the tensor that ``value`` reads as ``key``, by inference or because its shape is fixed."""
        return self.range_of(key) or (InputRange.fixed(value.shape.static()) if value.shape.is_static else None)

    def is_open(self, value: Value) -> bool:
        """Whether nobody knows the size of the first axis of ``value``."""
        shape = self._shape(value, self.main[1])
        return shape.dims is None or shape.dims[:1] == (None,)

    def collected(self, value: Value) -> InputRange | None:
        """The range of a tensor whose rows were collected, one for each of the batch; None for any other."""
        shapes = [self._shape(value, point) for point in self.main]
        if self.batch is None or not all(map(lacks_rows_only, shapes)) or len({s.known()[1:] for s in shapes}) > 1:
            return None
        if not collector_of(value, self.is_open):
            return None
        rest = shapes[1].known()[1:]
        low, opt, high = (Shape((size, *rest)).static() for size in self.batch)
        return InputRange(low, opt, high)

    def _shape(self, value: Value, point: _Known) -> Shape:
        return _merged(point.shapes.get(_key(value)), value.shape)

    def within(self, operands: Sequence[tuple[Key, Value]], function: Graph, wanted: Sequence[Value]) -> _Row:
        """The same for ``function``, run with ``operands``."""

        def inside(point: _Known) -> _Known:
            known = [_merged(point.shapes.get(key), value.shape) for key, value in operands]
            shapes = dict(zip(function.inputs, known, strict=True))
            try:
                return _Known.of(infer_at(function, shapes, {}, wanted))
            except GraphDefError:  # nobody says that the loop or branch is run with these shapes
                return _Known({}, {})

        low, opt, high = map(inside, self.main)
        return _Row((low, opt, high), tuple(map(inside, self.between)), self.batch)

    def _elements(self, key: Key) -> ValueRange | None:
        main = [e for p in self.main if (e := p.elements.get(key)) is not None]
        if len(main) < len(self.main) or len({len(e) for e in main}) > 1:
            return None
        others = [e for p in self.between if (e := p.elements.get(key)) is not None and len(e) == len(main[0])]
        return ValueRange(*_spread(main, others))


def _merged(found: Shape | None, own: Shape) -> Shape:
    return own if found is None or not found.compatible(own) else found.merge(own)


def _static(points: Sequence[_Known], key: Key) -> list[Dims]:
    return [s.static() for p in points if (s := p.shapes.get(key)) is not None and s.is_static]


def _spread(main: Sequence[Dims], others: Sequence[Dims]) -> tuple[Dims, Dims, Dims]:
    columns = list(zip(*main, *others, strict=True))
    return tuple(map(min, columns)), main[1], tuple(map(max, columns))


@attrs.frozen(slots=True)
class ProfilePoints:
    """What is known of every tensor of a graph at the points of every profile."""

    rows: tuple[_Row, ...] = ()

    @classmethod
    def of(cls, graph: Graph, groups: Iterable[Sequence[Node]], config: Config) -> ProfilePoints:
        """Ask TensorFlow for the profiles of ``config``; ``groups`` are the segments whose inputs matter.

        Raises:
            ConfigError: a range does not fit the model's inputs, or one is missing.
            GraphDefError: TensorFlow refuses the model at the minimum, optimum or maximum of a profile.
        """
        fed = {n.name: n.outputs[0] for n in graph if n.op in FED}
        dims = {name: value.shape.dims for name, value in fed.items() if value.dtype is not DType.RESOURCE}
        asked = _Asked(graph, fed, _wanted(groups))
        rows = []
        for points, elements in zip(shape_points(dims, config), value_points(config), strict=True):
            low, opt, high = (asked.at(p, e) for p, e in zip(points, elements, strict=True))
            between = tuple(i for p in _between(points) if (i := asked.if_possible(p, elements[1])) is not None)
            rows.append(_Row((low, opt, high), between, _batch(points, dims)))
        return cls(tuple(rows))

    def within(
        self,
        operands: Sequence[Value],
        function: Graph,
        functions: Mapping[str, Graph],
        groups: Iterable[Sequence[Node]],
    ) -> ProfilePoints:
        """What is known inside of ``function``, which is first run with ``operands`` and is held to keep their shapes."""
        wanted, keyed = _wanted(groups), [(self._resolved(v, functions), v) for v in operands]
        return ProfilePoints(tuple(row.within(keyed, function, wanted) for row in self.rows))

    def profiles(self, group: Sequence[Node], functions: Mapping[str, Graph]) -> tuple[Profile, ...] | str:
        """Per profile the range of every input of the segment, in order, or the reason why there is none.

        ``functions`` are those of the module: what a segment computes is known by its name inside the segment's body.
        """
        values = entering(group)
        keys = [self._resolved(value, functions) for value in values]
        pairs = list(enumerate(zip(keys, values, strict=True)))
        profiles = []
        for row in self.rows:
            ranges = {i: row.known(k, v) or row.collected(v) for i, (k, v) in pairs}
            unknown = [keys[i] for i, r in ranges.items() if r is None]
            if unknown:
                last = row.main[-1].shapes.get(unknown[0], Shape(None))
                return f"the shape of %{unknown[0][0]} is known only at run time ({last})"
            profiles.append({i: r for i, r in ranges.items() if r is not None})
        return tuple(profiles)

    def collected(self, group: Sequence[Node], functions: Mapping[str, Graph]) -> dict[str, str]:
        """The inputs of the segment whose first axis is taken for the batch, and the nodes that collected their rows."""
        found = {}
        for value in entering(group):
            key = self._resolved(value, functions)
            for row in self.rows:
                if row.known(key, value) is None and row.collected(value):
                    found[value.name] = collector_of(value, row.is_open)
        return found

    def _resolved(self, value: Value, functions: Mapping[str, Graph]) -> Key:
        known = any(_key(value) in row.main[0].shapes for row in self.rows)
        ref = None if known or value.producer is None else value.producer.attrs.get("segment_func")
        body = functions.get(ref.name) if isinstance(ref, FuncRef) else None
        return _key(value) if body is None else _key(body.outputs[value.index])


def _batch(points: Sequence[Point], dims: Mapping[str, tuple[int | None, ...] | None]) -> tuple[int, int, int] | None:
    """The batch at minimum, optimum and maximum: the size that the unknown first axes of all inputs have; None where they differ."""
    names = [n for n, known in dims.items() if known is not None and known[:1] == (None,)]
    sizes = {tuple(point[n][0] for point in points) for n in names}
    if len(sizes) != 1:
        return None
    low, opt, high = sizes.pop()
    return low, opt, high


@attrs.define(slots=True)
class _Asked:
    """Inference at points of the model's inputs; the same point is asked about once."""

    graph: Graph
    fed: Mapping[str, Value]
    wanted: tuple[Value, ...]
    answers: dict[tuple[tuple[tuple[str, Dims], ...], ...], _Known] = attrs.field(factory=dict)

    def at(self, point: Point, elements: Mapping[str, Dims]) -> _Known:
        key = tuple(sorted(point.items())), tuple(sorted(elements.items()))
        if key not in self.answers:
            shapes = {self.fed[n]: Shape(d) for n, d in point.items()}
            tensors = {self.fed[n]: self._tensor(n, e, point[n]) for n, e in elements.items()}
            self.answers[key] = _Known.of(infer_at(self.graph, shapes, tensors, self.wanted))
        return self.answers[key]

    def if_possible(self, point: Point, elements: Mapping[str, Dims]) -> _Known | None:
        try:
            return self.at(point, elements)
        except GraphDefError:  # shapes that the model does not take, such as two batch sizes at once
            return None

    def _tensor(self, name: str, elements: Dims, dims: Dims) -> Tensor:
        return Tensor.of(np.array(elements).reshape(dims), self.fed[name].dtype)


def entering(group: Sequence[Node]) -> list[Value]:
    """The inputs of the segment that ``group`` will be, in the order in which :func:`tfgraphopt.regions.outline` finds them."""
    region = set(group)
    found = (v for n in group for v in n.inputs)
    return list(
        dict.fromkeys(v for v in found if v.producer is None or not (v.producer in region or is_free(v.producer)))
    )


def is_free(node: Node) -> bool:
    """Whether ``node`` belongs to no segment and orders nothing: a constant, which every reader copies."""
    return node.op == "Const" and not node.control


def _wanted(groups: Iterable[Sequence[Node]]) -> tuple[Value, ...]:
    every = (v for group in groups for v in entering(group) if v.dtype in _INTEGERS and _is_small(v))
    return tuple(dict.fromkeys(every))


def _is_small(value: Value) -> bool:
    return value.shape.rank is not None and value.shape.rank <= 1


def _between(points: Sequence[Point]) -> Iterator[Point]:
    """Shapes between the minimum and the maximum: two in the middle, and the corners.

    Dimensions with the same range (the batch of every input) are taken to vary together.
    """
    low, opt, high = points
    triples = {name: tuple(zip(low[name], opt[name], high[name], strict=True)) for name in low}
    axes = list(dict.fromkeys(t for each in triples.values() for t in each if t[0] < t[2]))
    middle = {t: (t[0] + t[2]) // 2 for t in axes}
    yield from (_placed(triples, {t: min(m + step, t[2]) for t, m in middle.items()}) for step in (0, 1) if axes)
    if 1 < len(axes) <= MOST_AXES:
        yield from (
            _placed(triples, dict(zip(axes, c, strict=True))) for c in itertools.product(*((t[0], t[2]) for t in axes))
        )


Triple = tuple[int, int, int]


def _placed(triples: Mapping[str, Sequence[Triple]], chosen: Mapping[Triple, int]) -> Point:
    return {name: tuple(chosen.get(t, t[0]) for t in each) for name, each in triples.items()}
