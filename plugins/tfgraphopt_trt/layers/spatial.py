"""Windows that slide over N,C,spatial tensors: sizes, padding, and TensorFlow's channels-last order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from tfgraphopt.ir import Attrs, Dim
from tfgraphopt_trt.layers.rules import check, ints, text

if TYPE_CHECKING:
    from tfgraphopt_trt.emit import Emitter

PADDINGS = ("explicit", "same_upper")


@attrs.frozen(slots=True)
class Window:
    """A sliding window: per spatial axis its size, stride, dilation and padding.

    ``same`` means that padding follows from the input so that the result has ``ceil(size / stride)`` elements, the odd
    one behind (TensorRT's SAME_UPPER, which is TensorFlow's ``SAME``).
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    same: bool
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, attributes: Attrs, size: Sequence[int], what: str) -> Window:
        """The window that a layer's attributes describe; LayerError when they do not fit each other."""
        rank = len(size)
        same = text(attributes, "padding", PADDINGS) == "same_upper"
        dilation = ints(attributes, "dilation") if "dilation" in attributes else (1,) * rank
        zeros = (0,) * rank
        before, after = (
            (zeros, zeros) if same else (ints(attributes, "pre") or zeros, ints(attributes, "post") or zeros)
        )
        window = cls(tuple(size), ints(attributes, "stride"), dilation, same, before, after)
        window._check(what)
        return window

    def _check(self, what: str) -> None:
        rank = len(self.size)
        check(rank in (2, 3), f"{what} has {rank} spatial axes; TensorRT has windows of 2 or 3 axes")
        for name in ("stride", "dilation", "before", "after"):
            values = getattr(self, name)
            check(len(values) == rank, f"{name} of {what} has {len(values)} numbers for {rank} spatial axes")
        check(min(self.size + self.stride + self.dilation) >= 1, f"{what} has a window, stride or dilation below 1")
        check(min(self.before + self.after) >= 0, f"{what} has negative padding")

    @property
    def extent(self) -> tuple[int, ...]:
        """The elements that the dilated window spans."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.size, self.dilation, strict=True))

    @property
    def is_padded(self) -> bool:
        """Whether there is explicit padding."""
        return any(self.before + self.after)

    def result(self, spatial: Sequence[Dim], what: str) -> tuple[Dim, ...]:
        """The spatial dimensions of the result; LayerError when the window does not fit."""
        return tuple(self._result_dim(i, dim, what) for i, dim in enumerate(spatial))

    def _result_dim(self, axis: int, dim: Dim, what: str) -> Dim:
        if dim is None:
            return None
        if self.same:
            return -(-dim // self.stride[axis])
        room = dim + self.before[axis] + self.after[axis] - self.extent[axis]
        check(room >= 0, f"the window of {what} spans {self.extent[axis]} elements, more than the padded input's")
        return room // self.stride[axis] + 1

    def pad(self, tf: Any, x: Any, value: Any = 0) -> Any:
        """``x`` (channels last) with the explicit padding filled with ``value``."""
        if not self.is_padded:
            return x
        pads = [(0, 0), *zip(self.before, self.after, strict=True), (0, 0)]
        return tf.pad(x, pads, constant_values=tf.constant(value, x.dtype))

    @property
    def tf_padding(self) -> str:
        """TensorFlow's word, once :meth:`pad` has been applied."""
        return "SAME" if self.same else "VALID"

    def apply(self, e: Emitter, layer: Any) -> None:
        """Set stride and padding of a TensorRT layer."""
        layer.stride_nd = e.dims(self.stride)
        if self.same:
            layer.padding_mode = e.trt.PaddingMode.SAME_UPPER
            return
        layer.padding_mode = e.trt.PaddingMode.EXPLICIT_ROUND_DOWN
        layer.pre_padding, layer.post_padding = e.dims(self.before), e.dims(self.after)


def channels_last(tf: Any, x: Any) -> Any:
    """N,C,spatial to N,spatial,C."""
    rank = x.shape.rank
    return tf.transpose(x, [0, *range(2, rank), 1])


def channels_first(tf: Any, x: Any) -> Any:
    """N,spatial,C to N,C,spatial."""
    rank = x.shape.rank
    return tf.transpose(x, [0, rank - 1, *range(1, rank - 1)])


def framed(values: Sequence[int]) -> list[int]:
    """Per-axis numbers in TensorFlow's form: one for the batch and one for the channels around them."""
    return [1, *values, 1]
