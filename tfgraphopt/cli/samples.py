"""Samples from files for calibration: arrays (.npz, .npy), TFRecord files of tf.train.Example, folders of images."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from tfgraphopt.cli.feeds import HANDLES, Array, read_feeds
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.graphdef import GraphDef

Sample = Mapping[str, Array]
"""One sample by input name, without the leading dimension of batches."""

_RECORDS = (".tfrecord", ".tfrecords", ".record")
_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")


@attrs.frozen(slots=True)
class SampleInput:
    """An input of the model: name, element type, and the dimensions of one sample (None where unknown)."""

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | None, ...] | None


@attrs.frozen(slots=True)
class Pixels:
    """How pixels become numbers: ``(pixel - mean) * scale``, pixels 0 to 255."""

    mean: float = 0.0
    scale: float = 1.0


def inputs_of(graph_def: GraphDef, outputs: Sequence[str]) -> tuple[SampleInput, ...]:
    """The placeholders of a frozen graph; the handles of its tables and variables are none that data goes into."""
    from tfgraphopt.graphdef import import_graph_def
    from tfgraphopt.ir import Shape

    found = []
    for node in import_graph_def(graph_def, list(outputs)).main:
        if node.op == "Placeholder" and node.outputs[0].dtype not in HANDLES:
            shape = node.attrs.get("shape")
            dims = shape.dims if isinstance(shape, Shape) else None
            found.append(SampleInput(node.name, node.outputs[0].dtype.np, None if dims is None else dims[1:]))
    return tuple(found)


def batches_of(
    paths: Sequence[Path], size: int, inputs: Sequence[SampleInput] = (), pixels: Pixels | None = None
) -> Iterator[dict[str, Array] | Array]:
    """The samples of files and folders in batches of ``size``; the last batch of each may be short.

    Arrays are cut along their first axis. Other files need the model's ``inputs``: a record has a feature for each of them by
    name, an image is scaled to the size that the model takes.

    Raises:
        ConfigError: a file or folder cannot be read, or lacks an input.
    """
    for path in paths:
        read = _reader(path)
        if read is None:
            yield from _cut(path, _arrays(path), size)
        else:
            yield from _stacked(read(path, inputs, pixels or Pixels()), size)


# -- arrays --------------------------------------------------------------------------------------------------------------


def _cut(path: Path, arrays: Mapping[str, Array], size: int) -> Iterator[dict[str, Array] | Array]:
    lengths = {a.shape[0] if a.ndim else 1 for a in arrays.values()}
    if len(lengths) != 1:
        raise ConfigError(f"the arrays of {path} have different numbers of samples: {sorted(lengths)}")
    for start in range(0, lengths.pop(), size):
        part = {n: a[start : start + size] if a.ndim else a for n, a in arrays.items()}
        yield part[""] if "" in part else part


def _arrays(path: Path) -> Mapping[str, Array]:
    """Arrays by input name; the name of a ``.npy`` file's array is empty."""
    if path.suffix != ".npy":
        return read_feeds(path)
    try:
        return {"": np.load(path, allow_pickle=False)}
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path} holds no array", why=str(error), hint="write it with numpy.save(path, array)"
        ) from error


def _stacked(samples: Iterator[Sample], size: int) -> Iterator[dict[str, Array]]:
    """Samples put together as long as their shapes agree."""
    group: list[Sample] = []
    for sample in samples:
        if group and (len(group) == size or _shapes(group[0]) != _shapes(sample)):
            yield {name: np.stack([s[name] for s in group]) for name in group[0]}
            group = []
        group.append(sample)
    if group:
        yield {name: np.stack([s[name] for s in group]) for name in group[0]}


def _shapes(sample: Sample) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in sample.items()}


# -- images --------------------------------------------------------------------------------------------------------------


def _images(folder: Path, inputs: Sequence[SampleInput], pixels: Pixels) -> Iterator[Sample]:
    """The images below a folder, in the order of their paths."""
    if len(inputs) != 1:
        raise ConfigError(
            f"{folder} is a folder of images: it feeds one input", where=[i.name for i in inputs],
            why=f"the model has {len(inputs)}", hint="use .npz or TFRecord files",
        )  # fmt: skip
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _IMAGES)
    if not files:
        raise ConfigError(f"there are no images in {folder}", why=f"it has no files {', '.join(_IMAGES)}")
    for file in files:
        yield {inputs[0].name: _image(file.read_bytes(), inputs[0], pixels, str(file))}


def _image(data: bytes, to: SampleInput, pixels: Pixels, where: str) -> Array:
    """An encoded image as the model takes it: channels last or first, scaled with antialiasing where the size is known."""
    tf: Any = importlib.import_module("tensorflow")
    if to.dims is None or len(to.dims) != 3:
        raise ConfigError(f"input {to.name!r} takes no images", where=[where], why=f"a sample has dimensions {to.dims}")
    first = to.dims[-1] not in (1, 3, 4) and to.dims[0] in (1, 3, 4)
    channels, *size = (to.dims[0], *to.dims[1:]) if first else (to.dims[-1], *to.dims[:2])
    try:
        image = tf.io.decode_image(data, channels=channels or 0, expand_animations=False)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        raise ConfigError(f"{where} is no image", why=str(error).splitlines()[0]) from error
    if None not in size and tuple(size) != tuple(image.shape[:2]):
        image = tf.image.resize(image, size, antialias=True)
    array = np.asarray(image, np.float64)
    if to.dtype.kind in "iu":
        array = np.clip(np.round(array), 0, 255)
    else:
        array = (array - pixels.mean) * pixels.scale
    return np.asarray(array.transpose(2, 0, 1) if first else array, to.dtype)


# -- records -------------------------------------------------------------------------------------------------------------


def _records(path: Path, inputs: Sequence[SampleInput], pixels: Pixels) -> Iterator[Sample]:
    """The examples of a TFRecord file, compressed where its name ends with .gz."""
    tf: Any = importlib.import_module("tensorflow")
    data = tf.data.TFRecordDataset(str(path), "GZIP" if path.suffix == ".gz" else "")
    try:
        for index, record in enumerate(data):
            where = f"{path}, record {index}"
            features = _features(tf, record.numpy(), where)
            yield {i.name: _feature(features, i, pixels, where) for i in inputs}
    except tf.errors.OpError as error:
        raise ConfigError(f"{path} cannot be read as a TFRecord file", why=str(error).splitlines()[0]) from error


def _features(tf: Any, record: bytes, where: str) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = tf.train.Example.FromString(record).features.feature
    except Exception as error:  # protobuf's DecodeError, which has no base of its own to name
        raise ConfigError(f"{where} is no tf.train.Example", why=str(error)) from error
    return found


def _feature(features: Mapping[str, Any], to: SampleInput, pixels: Pixels, where: str) -> Array:
    """The numbers of a feature in the shape of a sample; bytes are an encoded image."""
    if to.name not in features:
        raise ConfigError(
            f"{where} lacks the input {to.name!r}", why=f"it has {', '.join(sorted(features)) or 'nothing'}"
        )
    feature = features[to.name]
    kind = feature.WhichOneof("kind")
    if kind == "bytes_list":
        return _image(feature.bytes_list.value[0], to, pixels, where)
    numbers = np.array(getattr(feature, kind).value if kind else [], to.dtype)
    dims = [numbers.size] if to.dims is None else [-1 if d is None else d for d in to.dims]
    try:
        return numbers.reshape(dims)
    except ValueError as error:
        raise ConfigError(
            f"{where}: input {to.name!r} takes samples of dimensions {to.dims}", why=f"it has {numbers.size} numbers"
        ) from error


_Reader = Callable[[Path, Sequence[SampleInput], Pixels], Iterator[Sample]]


def _reader(path: Path) -> _Reader | None:
    """Who reads ``path`` sample by sample; None for files of arrays."""
    if path.is_dir():
        return _images
    name = path.name.lower().removesuffix(".gz")
    return _records if name.endswith(_RECORDS) else None
