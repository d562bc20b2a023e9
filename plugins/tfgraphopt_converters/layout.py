"""Data formats: where the channels are, and the way to and from TensorRT's N,C,spatial."""

from __future__ import annotations

from collections.abc import Sequence

from tfgraphopt.ir import Dim, Value
from tfgraphopt_trt.builder import LayerBuilder, Unsupported

_CHANNELS_LAST = {
    "NHWC": True, "NCHW": False, "NDHWC": True, "NCDHW": False, "CHANNELS_LAST": True, "CHANNELS_FIRST": False,
}  # fmt: skip


def is_channels_last(data_format: str) -> bool:
    """Whether TensorFlow's ``data_format`` has the channels behind the spatial axes; Unsupported for packed formats."""
    if data_format not in _CHANNELS_LAST:
        raise Unsupported(f"data format {data_format} is neither channels-last nor channels-first")
    return _CHANNELS_LAST[data_format]


def channel_axis(data_format: str, rank: int) -> int:
    """The axis of the channels in a tensor of ``rank``."""
    return rank - 1 if is_channels_last(data_format) else 1


def to_channels_first(b: LayerBuilder, x: Value, data_format: str) -> Value:
    """``x`` as N,C,spatial."""
    rank = len(x.shape)
    return b.transpose(x, (0, rank - 1, *range(1, rank - 1))) if is_channels_last(data_format) else x


def from_channels_first(b: LayerBuilder, x: Value, data_format: str) -> Value:
    """N,C,spatial ``x`` in ``data_format``."""
    rank = len(x.shape)
    return b.transpose(x, (0, *range(2, rank), 1)) if is_channels_last(data_format) else x


def spatial_part(values: Sequence[int], data_format: str, what: str) -> tuple[int, ...]:
    """The spatial entries of a list with one entry an axis; Unsupported unless those of batch and channels are 1."""
    last = is_channels_last(data_format)
    batch, channels = values[0], values[-1] if last else values[1]
    if (batch, channels) != (1, 1):
        raise Unsupported(f"{what} {list(values)} is not 1 along the batch and channel axes")
    return tuple(values[1:-1] if last else values[2:])


def spatial_dims(x: Value, data_format: str) -> tuple[Dim, ...]:
    """The sizes of the spatial axes of ``x``, which is in ``data_format``."""
    dims = x.shape.known()
    return dims[1:-1] if is_channels_last(data_format) else dims[2:]


def per_channel(b: LayerBuilder, vector: Value, data_format: str, rank: int) -> Value:
    """``vector`` (one number a channel) shaped so that it broadcasts over a tensor of ``rank`` in ``data_format``."""
    axis = channel_axis(data_format, rank)
    tensor = b.tensor_of(vector)
    if tensor is not None:
        dims = [1] * rank
        dims[axis] = tensor.num_elements
        return b.constant(tensor.reshape(dims))
    return b.unsqueeze(vector, [i for i in range(rank) if i != axis])
