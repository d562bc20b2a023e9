"""Networks that PyPI packages carry, pretrained and frozen: mtcnn's face detector and basic-pitch's note transcriber.

mtcnn 1.0.0 needs joblib and lz4 (its weights are joblib pickles under lz4). basic-pitch 0.4.0 is never imported: only
its SavedModel is read, so it needs no other package. Install both with `pip install --no-deps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

from zoo import cache
from zoo.frozen import FrozenModel, Input, freeze

MTCNN = ("PNet", "RNet", "ONet")
BASIC_PITCH = "BasicPitch"
_AUDIO_SAMPLES = 43_844


def _mtcnn_network(name: str, outputs: tuple[str, ...], size: int | None) -> FrozenModel:
    from mtcnn import network
    from mtcnn.utils.tensorflow import load_weights

    module = __import__(f"{network.__name__}.{name.lower()}", fromlist=[name])
    model = getattr(module, name)()
    model.build((None, size, size, 3))
    model.set_weights(load_weights(f"{name.lower()}.lz4"))
    inputs = (Input("input", "float32", (None, size, size, 3)),)
    return freeze(model, name, inputs=inputs, outputs=outputs, feed="image_signed", sample=() if size else (96, 128))


def _constants_by_session(saved_model: Path, input_name: str, output_names: tuple[str, ...]) -> tuple[Any, list[str]]:
    """GraphDef of a signature with variables as constants, its functions kept; the tensors of input and outputs.

    For a SavedModel that tf.saved_model.load cannot read (basic-pitch: an optimiser's slot variables hang on an object
    whose class is unknown): a TF1 session restores it.
    """
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        signature = v1.saved_model.load(session, ["serve"], str(saved_model)).signature_def["serving_default"]
        results = [signature.outputs[name].name for name in output_names]
        nodes = sorted({tensor.partition(":")[0] for tensor in results})
        graph_def = convert_variables_to_constants_from_session_graph(session, graph.as_graph_def(), nodes)
    return graph_def, [signature.inputs[input_name].name, *results]


def _freeze_basic_pitch() -> FrozenModel:
    outputs = ("contour", "note", "onset")
    graph_def, (fed, *results) = _constants_by_session(basic_pitch_saved_model(), "input_2", outputs)

    def call(audio: Any) -> list[Any]:
        imported: list[Any] = tf.graph_util.import_graph_def(graph_def, {fed: audio}, results, name="")
        return imported

    inputs = (Input("audio", "float32", (None, _AUDIO_SAMPLES, 1)),)
    return freeze(call, BASIC_PITCH, inputs=inputs, outputs=outputs, feed="audio")


BUILDERS: Mapping[str, Callable[[], FrozenModel]] = MappingProxyType(
    {
        "PNet": lambda: _mtcnn_network("PNet", ("offsets", "scores"), None),
        "RNet": lambda: _mtcnn_network("RNet", ("offsets", "scores"), 24),
        "ONet": lambda: _mtcnn_network("ONet", ("offsets", "landmarks", "scores"), 48),
        BASIC_PITCH: _freeze_basic_pitch,
    }
)
"""Name -> what builds it in this process; `build` caches."""
NAMES = tuple(BUILDERS)


def build(name: str) -> FrozenModel:
    """The frozen pretrained network, from the cache or built now.

    PNet: `input` (batch, height, width, 3) -> `offsets` (.., 4), `scores` (.., 2). RNet: 24 x 24 pixels -> the same per
    image. ONet: 48 x 48 -> `offsets`, `landmarks` (batch, 10), `scores`. Pixels are (value - 127.5) / 128. BasicPitch:
    `audio` (batch, 43844, 1) at 22,050 Hz -> `contour` (batch, 172, 264), `note` and `onset` (batch, 172, 88).
    """
    if name not in BUILDERS:
        raise KeyError(f"{name!r} is not a pretrained model of the zoo; NAMES lists them")
    return cache.fetch(name, 0)


def basic_pitch_saved_model() -> Path:
    """The SavedModel directory of the installed basic-pitch package (signature serving_default, input `input_2`)."""
    spec = find_spec("basic_pitch")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("basic-pitch is not installed: pip install --no-deps basic-pitch==0.4.0")
    return Path(spec.submodule_search_locations[0]) / "saved_models" / "icassp_2022" / "nmp"
