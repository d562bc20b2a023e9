"""What a benchmark of models lets compete: a model in a session, the same compiled by XLA, and engines by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tfgraphopt.benchmark import Contestant, EngineRequest
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef
from tfgraphopt.plugins import Tables
from tfgraphopt.running import AnyRunner, Runner, batch_size, engine_lines, engine_nodes, tensor_name
from tfgraphopt.testing.compare import RunFailed

Array = npt.NDArray[Any]


def in_session(
    name: str, graph_def: GraphDef, outputs: Sequence[str], feeds: Mapping[str, Array], *, threads: int = 0
) -> Contestant:
    """A model in a session of its own; arrays go in from host memory and come out there.

    Raises:
        RunFailed: TensorFlow refuses the graph.
        ConfigError: ``feeds`` do not fit its inputs.
    """
    return running(name, Runner.of(graph_def, outputs, threads=threads), graph_def, feeds)


def running(name: str, runner: AnyRunner, graph_def: GraphDef, feeds: Mapping[str, Array]) -> Contestant:
    """Whatever runs a model; ``graph_def`` is where its engine nodes are looked up.

    Raises:
        ConfigError: ``feeds`` do not fit its inputs.
    """
    call = runner.prepared(feeds)
    before = _counters_now(graph_def)

    def run() -> None:
        call()

    return Contestant(name, run, batch_size(feeds), lambda: engine_lines(graph_def, before), runner.close)


def _counters_now(graph_def: GraphDef) -> Mapping[str, Any]:
    if not engine_nodes(graph_def):
        return {}
    from tfgraphopt.runtime import counters

    return counters()


def under_xla(name: str, graph_def: GraphDef, outputs: Sequence[str], feeds: Mapping[str, Array]) -> Contestant:
    """A model as one function that XLA compiles (``jit_compile=True``).

    Raises (at the first run):
        RunFailed: XLA cannot compile the model.
    """
    import tensorflow as tf

    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=""), [])
    tensors = whole.graph.get_tensor_by_name
    asked = [tensors(tensor_name(o)) for o in outputs]
    compiled = tf.function(whole.prune([tensors(tensor_name(n)) for n in feeds], asked), jit_compile=True)
    arrays = list(feeds.values())

    def run() -> None:
        try:
            for tensor in compiled(*(tf.convert_to_tensor(a) for a in arrays)):
                np.asarray(tensor)
        except (ValueError, tf.errors.OpError) as error:
            raise RunFailed("XLA does not run the model", why=str(error), hint="leave --xla out") from error

    return Contestant(name, run, batch_size(feeds))


def engine_by_itself(request: EngineRequest, tables: Tables) -> Contestant:
    """An engine without TensorFlow, run by whichever plugin knows its kind.

    Raises:
        ConfigError: the file cannot be read, or no plugin runs it.
    """
    if not request.plan.is_file():
        raise ConfigError(f"there is no engine file {request.plan}")
    made: list[Contestant] = tables.call("tfgraphopt_bench_engine", {"request": request})
    if not made:
        raise ConfigError(
            f"no plugin runs the engine {request.plan} by itself",
            hint="TensorRT plans are run by the plugin pycuda (pip install tfgraphopt[pycuda]); see `tfgraphopt plugins`",
        )
    for other in made[1:]:
        other.close()
    return made[0]
