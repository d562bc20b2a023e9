"""A batch of any size, brought to one of a few sizes: padded with rows of zeros, and the results cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.ir import Graph
from tfgraphopt_trt.profiles import Profile
from tfgraphopt_xla.rows import FIXED, RowRule, Rows, State, Unproven, follow_rows

_FAR = 2**30


@attrs.frozen(slots=True)
class Buckets:
    """The batch sizes to compile for, and which inputs and results have how many rows for each of the batch (0: none)."""

    sizes: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def buckets_of(
    body: Graph, profiles: Sequence[Profile], wanted: str | tuple[int, ...], rules: Mapping[str, RowRule]
) -> Buckets:  # fmt: skip
    """The buckets of a lowered body.

    Raises:
        Unproven: batches of ``body`` cannot be padded; the text says why.
    """
    if wanted == "none":
        raise Unproven("the caller wants none (buckets)")
    batches = _batches(body, profiles)
    states = follow_rows(body, [Rows(0) if v.shape.known()[:1] == (None,) else FIXED for v in body.inputs], rules)
    sizes = _sizes(batches, wanted)
    if len(sizes) == 1:
        raise Unproven("the profiles name one batch size only")
    return Buckets(
        sizes, tuple(int(isinstance(states[v], Rows)) for v in body.inputs), tuple(_cut(states[v]) for v in body.outputs)
    )  # fmt: skip


def _cut(state: State) -> int:
    if state == FIXED:
        return 0
    if not isinstance(state, Rows) or state.axis != 0:
        raise Unproven("a result of the segment does not have its rows along the first axis")
    return state.each


def _batches(body: Graph, profiles: Sequence[Profile]) -> list[int]:
    """The batch sizes that the profiles name; only the first axis of inputs may be unknown, and it is one size for all."""
    open_axes = [i for v in body.inputs for i, d in enumerate(v.shape.known()) if d is None]
    if not open_axes:
        raise Unproven("all shapes are known")
    if any(open_axes):
        raise Unproven("sizes other than the batch are known only at run time")
    rows = [i for i, v in enumerate(body.inputs) if None in v.shape.known()]
    if not all(i in profile for profile in profiles for i in rows):
        raise Unproven("the profiles do not say which batch sizes there are")
    points = [{getattr(p[i], at)[0] for i in rows} for p in profiles for at in ("min", "opt", "max")]
    if any(len(sizes) > 1 for sizes in points):
        raise Unproven("its inputs differ in the size of their first axis")
    return sorted({size for sizes in points for size in sizes})


def _sizes(batches: Sequence[int], wanted: str | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(wanted, tuple):
        return tuple(sorted(set(wanted)))
    sizes = {max(b, 1) for b in batches}
    if wanted == "powers":
        sizes |= {1 << i for i in range(31) if min(sizes) < 1 << i < max(sizes)}
    return tuple(sorted(sizes))


def dispatch_by_size(buckets: Buckets) -> Callable[[Any, Callable[..., Any], Sequence[Any]], Sequence[Any]]:
    """Calls the compiled function with the smallest bucket that holds the batch.

    A batch of a bucket's own size is handed on as it is, and so is one larger than every bucket or with inputs of different sizes:
    TensorFlow's kernels hand a tensor on when there is nothing to pad or to cut. Only ops are used whose int32 kernels work on the host
    also where TensorFlow places them on a GPU, so nothing waits for a device. (A branch in their place, or a device written down, cost a
    fifth of a millisecond a call on a machine with an H200, as they wake other threads.)
    """

    def dispatch(tf: Any, compiled: Callable[..., Any], inputs: Sequence[Any]) -> Sequence[Any]:
        shapes = [tf.shape(t) for t, rows in zip(inputs, buckets.inputs, strict=False) if rows]
        # TensorFlow hands every node that waits for nothing to a thread of its own, constants too: here they wait for the shape.
        with tf.control_dependencies(shapes[:1]):
            counts = [shape[0] for shape in shapes]
            more = _missing(tf, counts[0], buckets.sizes)
            for other in counts[1:]:
                apart = tf.maximum(other - counts[0], counts[0] - other)
                more = tf.math.floordiv(more, 1 + tf.minimum(apart, 1) * _FAR)
            return _cut_rows(compiled(*_padded(tf, inputs, buckets.inputs, more)), buckets.outputs, counts[0])

    return dispatch


def _missing(tf: Any, count: Any, sizes: Sequence[int]) -> Any:
    """How many rows ``count`` lacks to the next of ``sizes``; 0 above the largest."""
    gaps = tf.math.floormod(tf.constant(sizes, tf.int32) - count, _FAR)  # where a size is too small: a large number
    return tf.minimum(tf.reduce_min(gaps), tf.maximum(sizes[-1] - count, 0))


def _padded(tf: Any, inputs: Sequence[Any], rows: Sequence[int], more: Any) -> list[Any]:
    """The inputs that have rows with ``more`` rows of zeros; weights stand behind them and have none."""
    has = [*rows, *(0 for _ in inputs[len(rows) :])]
    return [
        tf.pad(t, [[0, more], *([0, 0] for _ in t.shape[1:])]) if r else t for t, r in zip(inputs, has, strict=True)
    ]


def _cut_rows(outputs: Sequence[Any], each: Sequence[int], count: Any) -> list[Any]:
    return [t[: count * e] if e else t for t, e in zip(outputs, each, strict=True)]
