"""A frozen graph with its inputs, its outputs and realistic data for it; freezing, storing, running."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from zoo.feeds import FEEDS

Array = npt.NDArray[Any]
Runner = Callable[..., tuple[Array, ...]]


class Input(NamedTuple):
    """A placeholder of a frozen graph: node name, numpy dtype name, shape with None where unknown."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@attrs.frozen(eq=False)
class FrozenModel:
    """A GraphDef without variables, and what it takes to run it.

    `inputs` are placeholders, `outputs` names of nodes whose output 0 is a result. `feed` is the kind of data the model
    expects (a key of `zoo.feeds.FEEDS`); `sample` is a size for each of the unknown dimensions after the first.
    """

    name: str
    graph_def: Any
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    feed: str = "normal"
    sample: tuple[int, ...] = ()

    def feeds(self, batch: int, seed: int = 0) -> dict[str, Array]:
        """Random realistic data: placeholder name -> array of first dimension `batch`. The same for the same seed."""
        rng = np.random.default_rng(seed)
        shapes = {node.name: concrete_shape(node.shape, batch, self.sample) for node in self.inputs}
        return {node.name: FEEDS[self.feed](shapes[node.name], rng).astype(node.dtype) for node in self.inputs}

    def runner(self) -> Runner:
        """A function of arrays, one for each input in order, that runs the graph in TensorFlow and returns the outputs.

        To run another graph with the same interface: `attrs.evolve(model, graph_def=optimised).runner()`.
        """
        names, outputs = [node.name for node in self.inputs], [f"{name}:0" for name in self.outputs]

        def load() -> None:
            tf.graph_util.import_graph_def(self.graph_def, name="")

        wrapped = tf.compat.v1.wrap_function(load, [])
        pruned = wrapped.prune([f"{name}:0" for name in names], outputs)
        return lambda *arrays: tuple(result.numpy() for result in pruned(*map(tf.constant, arrays)))

    def run(self, feeds: Mapping[str, Array]) -> tuple[Array, ...]:
        """The outputs for `feeds`; for more than one call take `runner`."""
        return self.runner()(*(feeds[node.name] for node in self.inputs))


def concrete_shape(shape: Sequence[int | None], batch: int, sample: Sequence[int]) -> tuple[int, ...]:
    """`shape` with `batch` for its first dimension and the next of `sample` for each other unknown one."""
    fill = iter(sample)
    return (batch, *(next(fill) if size is None else size for size in shape[1:]))


def _keras_inputs(model: Any) -> tuple[Input, ...]:
    names = [f"input_{index}" if len(model.inputs) > 1 else "input" for index in range(len(model.inputs))]
    return tuple(
        Input(name, spec.dtype, (None, *spec.shape[1:])) for name, spec in zip(names, model.inputs, strict=True)
    )


def _named_outputs(function: Callable[..., Any], outputs: Sequence[str]) -> Callable[..., list[Any]]:
    def call(*arguments: Any) -> list[Any]:
        results = tf.nest.flatten(function(*arguments))
        return [tf.identity(result, name=name) for result, name in zip(results, outputs, strict=True)]

    return call


def frozen_graph(function: Callable[..., Any], inputs: Sequence[Input], outputs: Sequence[str]) -> Any:
    """GraphDef of `function` with constants for variables, placeholders named as `inputs`, results as `outputs`.

    Freezes with convert_variables_to_constants_v2. The outputs are Identity nodes; what they do not need is dropped.
    """
    specs = [tf.TensorSpec(node.shape, node.dtype, name=node.name) for node in inputs]
    concrete = tf.function(_named_outputs(function, outputs), autograph=False).get_concrete_function(*specs)
    graph_def = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    return tf.compat.v1.graph_util.extract_sub_graph(graph_def, list(outputs))


def _of_keras(model: Any) -> Callable[..., Any]:
    return lambda *tensors: model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)


def freeze(
    model: Any,
    name: str,
    *,
    inputs: Sequence[Input] = (),
    outputs: Sequence[str] = ("output",),
    feed: str = "normal",
    sample: Sequence[int] = (),
) -> FrozenModel:
    """A frozen graph of a Keras model or of a function of tensors (which then needs `inputs`).

    A Keras model runs with training=False and an unknown batch dimension; its placeholder is called `input`, or
    `input_0`, `input_1` ... where there are several. `outputs` names the results in order.
    """
    function = _of_keras(model) if isinstance(model, tf.keras.Model) else model
    nodes = tuple(inputs) or _keras_inputs(model)
    return FrozenModel(name, frozen_graph(function, nodes, outputs), nodes, tuple(outputs), feed, tuple(sample))


def save(model: FrozenModel, folder: Path) -> None:
    """Writes `graph.pb` and `model.json` into an existing folder."""
    fields = attrs.asdict(model, recurse=False, filter=attrs.filters.exclude("graph_def"))
    (folder / "graph.pb").write_bytes(model.graph_def.SerializeToString(deterministic=True))
    (folder / "model.json").write_text(json.dumps(fields))


def load(folder: Path) -> FrozenModel:
    """Reads what `save` wrote."""
    fields = json.loads((folder / "model.json").read_text())
    graph_def = tf.compat.v1.GraphDef.FromString((folder / "graph.pb").read_bytes())
    inputs = tuple(Input(name, dtype, tuple(shape)) for name, dtype, shape in fields["inputs"])
    rest = (tuple(fields["outputs"]), fields["feed"], tuple(fields["sample"]))
    return FrozenModel(fields["name"], graph_def, inputs, *rest)
