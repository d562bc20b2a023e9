"""From a lowered graph to plan bytes, in this process or in a worker that may crash alone."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tfgraphopt.errors import ConfigError, EngineBuildFailed
from tfgraphopt.ir import Graph
from tfgraphopt_trt.build_log import BuildLog, layer_table, logged_bytes, make_logger
from tfgraphopt_trt.build_options import BuildOptions, BuildResult, NoBuilder
from tfgraphopt_trt.builder_process import BuilderProcess, build_in_worker
from tfgraphopt_trt.emit import EmittedNetwork, emit_network
from tfgraphopt_trt.layerdef import LayerDef
from tfgraphopt_trt.memory import peak_resident_bytes, reset_peak
from tfgraphopt_trt.profiles import Profile, add_profiles, check_profiles
from tfgraphopt_trt.tensorrt_api import TensorRT, load

__all__ = ["BuildOptions", "BuildResult", "BuilderProcess", "build_in_worker", "build_plan"]


def build_plan(
    graph: Graph, layers: Mapping[str, LayerDef], profiles: Sequence[Profile] = (), options: BuildOptions | None = None
) -> BuildResult:
    """Emit ``graph`` and build its engine in this process (no limits; a crash of TensorRT ends the process).

    Args:
        graph: a lowered body (``trt.*`` nodes).
        layers: layer definitions by op.
        profiles: ranges of the inputs; needed when a shape is not fully known.
        options: see :class:`BuildOptions`.

    Raises:
        ConfigError: the profiles do not fit the inputs, or an option the TensorRT at hand.
        EmitError: a layer was refused, or inference disagrees.
        EngineBuildFailed: the builder refused the network; ``where`` are the user's nodes that its log names, ``why``
            is the log.
        MissingDependency: there is no TensorRT.
    """
    options = options or BuildOptions()
    check_profiles(graph, profiles)
    tensorrt = load(options.flavour)
    log = BuildLog(verbose=options.layer_table)
    reset_peak()
    started = time.perf_counter()
    logger = make_logger(tensorrt.module, log)
    builder = _builder(tensorrt, logger, log)
    emitted = emit_network(graph, layers, tensorrt, builder, log)
    check_profiles(graph, profiles, emitted.shape_inputs)
    plan = _serialize(tensorrt, builder, emitted, graph, profiles, options, log)
    return _result(tensorrt, emitted, plan, time.perf_counter() - started, log)


def _builder(tensorrt: TensorRT, logger: Any, log: BuildLog) -> Any:
    try:
        return tensorrt.module.Builder(logger)
    except (TypeError, RuntimeError) as error:  # the bindings raise TypeError when the factory returns nullptr
        raise NoBuilder(
            f"{tensorrt.flavour} {tensorrt.version} cannot make a builder",
            why=" ".join(log.errors()) or str(error),
            hint="the full TensorRT needs a GPU and its driver to build; TensorRT for RTX does not",
        ) from error


def _serialize(
    tensorrt: TensorRT, builder: Any, emitted: EmittedNetwork, graph: Graph, profiles: Sequence[Profile],
    options: BuildOptions, log: BuildLog,
) -> bytes:  # fmt: skip
    config = _config(tensorrt, builder, options)
    if not add_profiles(builder, config, emitted.inputs, profiles, emitted.shape_inputs):
        raise ConfigError(f"TensorRT refuses a profile of {graph.name!r}", why=" ".join(log.errors()))
    seen = len(log.messages)
    memory = builder.build_serialized_network(emitted.network, config)
    if memory is None:
        raise _refused(graph, emitted, log.errors(seen) or log.errors())
    return bytes(memory)


def _config(tensorrt: TensorRT, builder: Any, options: BuildOptions) -> Any:
    trt = tensorrt.module
    config = builder.create_builder_config()
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if not options.tf32 and "tf32" in tensorrt.features:
        config.clear_flag(trt.BuilderFlag.TF32)
    config.builder_optimization_level = options.optimization_level
    config.profiling_verbosity = getattr(trt.ProfilingVerbosity, options.profiling_name)
    if options.compute_capabilities:
        _set_capabilities(tensorrt, config, options.compute_capabilities)
    return config


def _set_capabilities(tensorrt: TensorRT, config: Any, wanted: Sequence[str]) -> None:
    if not tensorrt.is_portable:
        raise ConfigError(
            f"compute capabilities {', '.join(wanted)} were asked for",
            why=f"{tensorrt.flavour} {tensorrt.version} builds for the GPU of this machine only",
            hint="leave compute_capabilities empty, or use TensorRT for RTX",
        )
    enum = tensorrt.module.ComputeCapability
    known = {name: getattr(enum, name) for name in enum.__members__}
    names = ["SM" + value.replace(".", "") for value in wanted]
    unknown = [value for value, name in zip(wanted, names, strict=True) if name not in known]
    if unknown:
        raise ConfigError(
            f"{tensorrt.flavour} {tensorrt.version} has no compute capability {', '.join(unknown)}",
            hint="it has " + ", ".join(f"{n[2:-1]}.{n[-1]}" for n in known if n.startswith("SM")),
        )
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        config.set_compute_capability(known[name], index)


def _refused(graph: Graph, emitted: EmittedNetwork, errors: Sequence[str]) -> EngineBuildFailed:
    """The error for a network that the builder did not build, with the user's nodes that its log names."""
    said = "\n    ".join(errors) or "the builder said nothing"
    culprits = [emitted.nodes[name] for name in names_in(said, emitted.nodes)]
    where = dict.fromkeys(origin for node in culprits for origin in node.origin or (node.name,))
    hint = next((hint for words, hint in _HINTS.items() if words in said), "")
    return EngineBuildFailed(f"TensorRT did not build {graph.name!r}", where=tuple(where), why=said, hint=hint)


_HINTS = {
    "workspace limit": "raise max_workspace_size_bytes",
    "OutOfMemory": (
        "raise max_workspace_size_bytes, which bounds all that an engine needs at its largest shapes, or give smaller "
        "input_shapes"
    ),
}
"""By words of the builder's: what to do."""
_QUOTED = re.compile(r"[\[({`'\"]([^\[\](){}`'\"]+)[\])}`'\"]")
_WORD = re.compile(r"[^\s\[\](){},;:'\"`]+")
_LIKE_A_NAME = re.compile(r"[/_\d]")


def names_in(text: str, names: Collection[str]) -> list[str]:
    """The layers that TensorRT's words are about: those that it puts into quotes or brackets or whose names look like no words.

    Only where there are none, layers whose names are words of the message: one called "input" or "data" is seldom meant.
    """
    text = text.replace("...", " ")
    words = {word.rstrip(".") for word in _WORD.findall(text)}
    clear = {word for word in words if _LIKE_A_NAME.search(word)} | {q.strip() for q in _QUOTED.findall(text)}
    return [n for n in names if n in clear] or [n for n in names if n in words]


def _result(tensorrt: TensorRT, emitted: EmittedNetwork, plan: bytes, seconds: float, log: BuildLog) -> BuildResult:
    texts = log.of("VERBOSE", "INFO")
    return BuildResult(
        plan=plan,
        seconds=seconds,
        layers=layers_by_type(emitted.network),
        transposes=real_transposes(tensorrt.module, emitted.network),
        flavour=tensorrt.flavour,
        version=tensorrt.version,
        table=layer_table(texts),
        activation_bytes=logged_bytes(texts, "Total Activation Memory"),
        peak_bytes=peak_resident_bytes(),
        shape_inputs=emitted.shape_inputs,
        ours_unknown=emitted.ours_unknown,
        theirs_unknown=emitted.theirs_unknown,
        warnings=tuple(log.warnings()),
    )


def layers_by_type(network: Any) -> dict[str, int]:
    """How many layers of each TensorRT type a network has, most frequent first."""
    types = (network.get_layer(i).type for i in range(network.num_layers))
    return dict(collections.Counter(str(t).rpartition(".")[2] for t in types).most_common())


def real_transposes(trt: Any, network: Any) -> int:
    """The number of permutations in shuffle layers of a network that move data."""
    found = 0
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type == trt.LayerType.SHUFFLE:
            before, after = tuple(layer.get_input(0).shape), tuple(layer.get_output(0).shape)
            layer.__class__ = trt.IShuffleLayer  # the bindings give plain ILayers; the type has been checked just above
            first, second = list(layer.first_transpose)[: len(before)], list(layer.second_transpose)[: len(after)]
            between = [after[second.index(axis)] for axis in range(len(after))]
            found += moves_data(first, before) + moves_data(second, between)
    return found


def moves_data(perm: Sequence[int], dims: Sequence[int]) -> bool:
    """Whether permuting a tensor of shape ``dims`` (-1 unknown) by ``perm`` changes the order of its elements."""
    order = [p for p in perm if dims[p] != 1]
    return order != sorted(order)
