"""The demo's pretrained networks: optimised, saved, and run as functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import attrs
import numpy as np

import tfgraphopt as tgo
from tfgraphopt.files import write_atomically
from tfgraphopt.optimization import Progress
from zoo import pretrained
from zoo.frozen import FrozenModel

RANGES: Mapping[str, tgo.ShapeRange] = MappingProxyType(
    {
        "PNet": tgo.ShapeRange((1, 12, 12, 3), (1, 216, 216, 3), (1, 1024, 1024, 3)),
        "RNet": tgo.ShapeRange((1, 24, 24, 3), (64, 24, 24, 3), (1024, 24, 24, 3)),
        "ONet": tgo.ShapeRange((1, 48, 48, 3), (8, 48, 48, 3), (256, 48, 48, 3)),
        "BasicPitch": tgo.ShapeRange((1, 43844, 1), (1, 43844, 1), (8, 43844, 1)),
    }
)
"""What the engines are built for: the smallest, the usual and the largest input."""


@attrs.frozen(eq=False)
class Optimised:
    """A network before and after."""

    model: FrozenModel
    result: tgo.Result


def optimise(name: str, folder: Path, progress: Progress, engine: str = "tensorrt") -> Optimised:
    """Build the engines of one pretrained network and write the optimised GraphDef to ``folder``/``engine``."""
    model = pretrained.build(name)
    config = tgo.Config(engine=engine, input_shapes={model.inputs[0].name: RANGES[name]})
    result = tgo.optimize_graph_def(model.graph_def, model.outputs, config, progress=progress)
    write_atomically(folder / engine / f"{name}.pb", result.graph_def.SerializeToString())
    return Optimised(model, result)


class Runner:
    """A frozen graph as a function of one array, in a TF1 session."""

    def __init__(self, graph_def: object, model: FrozenModel) -> None:
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            tf.graph_util.import_graph_def(graph_def, name="")
        self._session = tf.compat.v1.Session(graph=graph)
        self._feed = f"{model.inputs[0].name}:0"
        self._fetches = [f"{name}:0" for name in model.outputs]

    def __call__(self, array: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(self._session.run(self._fetches, {self._feed: array}))
