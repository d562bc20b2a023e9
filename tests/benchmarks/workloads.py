"""What tests/benchmarks/cpu.py times: single networks, and a face detection, which calls three of them many times.

The detection is mtcnn's own on scikit-image's photograph of an astronaut: the tensors that its pyramid and its candidates
become are recorded once, and what is timed is the calls of the networks with them, without the detector's own arithmetic. A batch
is handed to the detector as a list of photographs of one size, which it stacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
from precision import encoder
from skimage import transform

import tfgraphopt as tgo
from zoo import detect, keras_models, pretrained
from zoo.frozen import Array, FrozenModel, Input, Runner

BERT, DETECTOR = "BERT-base", "MTCNN"
NETWORKS = ("ResNet50", "MobileNetV2", "EfficientNetB0", "ConvNeXtTiny", BERT, "PNet", "RNet", "ONet", "BasicPitch")
NAMES = (*NETWORKS, DETECTOR)

_TOKENS, _VOCABULARY = 128, 1000
_CANDIDATES = {"RNet": (24, 64, 1024), "ONet": (48, 16, 128)}
"""Pixels, candidates of a usual photograph, and the most that one may have."""
_ALIGNMENT = 64

Shapes = Mapping[str, Sequence[tgo.ShapeRange]]


@attrs.frozen(eq=False)
class Step:
    """One call of one network, with an array for each of its inputs in order."""

    model: FrozenModel
    arrays: Sequence[Array]


@attrs.frozen(eq=False)
class Workload:
    """What is timed as one.

    Attributes:
        steps: by batch size, the calls in order.
        shapes: by network and input, what engines are built for.
        varying: networks whose shapes nobody knows before the call.
        quantised: whether it is measured in INT8 as well.
    """

    steps: Mapping[int, Sequence[Step]]
    shapes: Mapping[str, Shapes]
    varying: frozenset[str] = frozenset()
    quantised: bool = True

    @property
    def models(self) -> dict[str, FrozenModel]:
        """The networks by name."""
        return {step.model.name: step.model for steps in self.steps.values() for step in steps}


@attrs.frozen(eq=False)
class Encoder(FrozenModel):
    """An encoder of BERT's dimensions."""

    def feeds(self, batch: int, seed: int = 0) -> dict[str, Array]:
        """Token ids and a mask."""
        return encoder.encoder_feeds(batch, _TOKENS, _VOCABULARY, seed + 1)


def workload(name: str, batches: Sequence[int]) -> Workload:
    """The workload of one of `NAMES`."""
    return _detection(batches) if name == DETECTOR else _network(build(name), sorted(batches))


def build(name: str) -> FrozenModel:
    """A frozen model of the zoo, or the encoder."""
    if name == BERT:
        graph_def, outputs = encoder.encoder(12, 768, 12, _TOKENS, _VOCABULARY)
        inputs = (Input("ids", "int32", (None, _TOKENS)), Input("mask", "float32", (None, _TOKENS)))
        return Encoder(name, graph_def, inputs, outputs)
    return pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name)


def _network(model: FrozenModel, batches: Sequence[int]) -> Workload:
    """Random data; engines from the smallest to the largest batch, which are compiled for on their own."""
    feeds = {batch: [aligned(model.feeds(batch)[i.name]) for i in model.inputs] for batch in batches}
    points = (batches[0], batches[len(batches) // 2], batches[-1])
    shapes = {
        node.name: [tgo.ShapeRange(*(feeds[batch][i].shape for batch in points))] for i, node in enumerate(model.inputs)
    }
    steps = {batch: [Step(model, arrays)] for batch, arrays in feeds.items()}
    return Workload(steps, {model.name: shapes}, quantised=model.name != BERT)  # BERT's calibration takes gigabytes


def _detection(batches: Sequence[int]) -> Workload:
    """PNet's images have the sizes of the pyramid, which the photographs' size decides; candidates are as many as there are."""
    models = {name: pretrained.build(name) for name in pretrained.MTCNN}
    steps = {batch: _recorded(models, photographs(batch)) for batch in batches}
    low, high = min(batches), max(batches)
    sizes = dict.fromkeys(s.arrays[0].shape[1:] for group in steps.values() for s in group if s.model.name == "PNet")
    shapes = {"PNet": [tgo.ShapeRange((low, *size), (high, *size), (high, *size)) for size in sizes]}
    for name, (pixels, usual, most) in _CANDIDATES.items():
        size = (pixels, pixels, 3)
        shapes[name] = [tgo.ShapeRange((1, *size), (usual, *size), (most * high, *size))]
    by_input = {name: {models[name].inputs[0].name: ranges} for name, ranges in shapes.items()}
    return Workload(steps, by_input, frozenset(_CANDIDATES), quantised=False)


def _recorded(models: Mapping[str, FrozenModel], images: Sequence[Array]) -> list[Step]:
    """The calls that the detector makes."""
    made: list[Step] = []

    def recording(model: FrozenModel) -> Runner:
        run = model.runner()

        def call(pixels: Array) -> tuple[Array, ...]:
            made.append(Step(model, [aligned(pixels)]))
            return run(pixels)

        return call

    found = detect.detect(list(images), *(recording(model) for model in models.values()))
    assert len(found.boxes) >= len(images), "a face was not found"
    return made


def photographs(count: int) -> list[Array]:
    """The astronaut, then the same mirrored and closer and closer (512, 512, 3) uint8."""
    original = detect.astronaut()
    size = original.shape[0]
    made = []
    for number in range(count):
        side = size - 16 * (number // 2)
        top, left = 0, (size - side) // 2
        closer = transform.resize(original[top : top + side, left : left + side], original.shape, preserve_range=True)
        made.append((closer[:, ::-1] if number % 2 else closer).round().astype(np.uint8))
    return made


def aligned(array: Array) -> Array:
    """A copy that starts where TensorFlow's own tensors may start, so that feeding it copies nothing."""
    raw = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    made = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    made[...] = array
    return made
