"""Every call that we make to TensorRT, held against the real bindings of versions that are not installed (10, 11).

tox installs them into directories of their own and names those in TFGRAPHOPT_TENSORRT_BINDINGS. Networks are made by the installed TensorRT
for RTX, which is shown to our code as if it were the other version: it has only that version's attributes.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tfgraphopt_trt.build import BuildOptions, layers_by_type, real_transposes
from tfgraphopt_trt.build import _config as make_config
from tfgraphopt_trt.build_log import BuildLog, make_logger
from tfgraphopt_trt.emit import EmitError, emit_network
from tfgraphopt_trt.profiles import InputRange, ValueRange, add_profiles
from tfgraphopt_trt.tensorrt_api import FEATURES, TensorRT, load
from trt_build.disguise import Disguised, Target
from trt_build.small_layers import LAYERS, conv, dense

pytestmark = pytest.mark.tensorrt

NOT_IN_10 = {
    "trt.topk": "int64 indices",
    "trt.non_zero": "int64 indices",
    "trt.nms": "int64 indices",
    "trt.normalization": "group normalization",
}
"""Layers that TensorRT 10.13 cannot have in every variant; the error says so."""


def disguised(facts: dict[str, Any]) -> tuple[TensorRT, Target]:
    """The installed TensorRT as it would look were it that of ``facts``."""
    real, target = load(), Target(facts)
    return attrs.evolve(real, module=Disguised(real.module, target, ""), version=facts["version"]), target


def emit(facts: dict[str, Any], graph: Any, layers: Any) -> tuple[Any, Any, TensorRT, Target]:
    tensorrt, target = disguised(facts)
    log = BuildLog()
    builder = tensorrt.module.Builder(make_logger(tensorrt.module, log))
    return emit_network(graph, layers, tensorrt, builder, log), builder, tensorrt, target


def test_the_builder_is_called_as_that_version_wants_it(facts: dict[str, Any]) -> None:
    emitted, builder, tensorrt, target = emit(facts, dense(), LAYERS)
    options = BuildOptions(workspace_bytes=1 << 28, tf32=False, layer_table=True)
    config = make_config(tensorrt, builder, options)
    ranges = InputRange((1, 4), (2, 4), (4, 4), ValueRange((1,), (2,), (3,)))
    add_profiles(builder, config, emitted.inputs, ({0: ranges},), [0])
    builder.build_serialized_network(emitted.network, config)
    assert layers_by_type(emitted.network)["MATRIX_MULTIPLY"] == 1
    assert target.problems == []


def test_networks_are_read_as_that_version_wants_it(facts: dict[str, Any]) -> None:
    emitted, _, tensorrt, target = emit(facts, conv(), LAYERS)
    assert real_transposes(tensorrt.module, emitted.network) == 2
    assert target.problems == []


def test_features_are_probed_by_names_that_some_version_has(facts: dict[str, Any]) -> None:
    found = {name for name, probe in FEATURES.items() if probe(Disguised(load().module, Target(facts), ""))}
    modern = {"indices_type", "normalization_v2"} if facts["version"].startswith("11.") else set()
    assert found - {"indices_type"} == ({"squeeze", "cumulative", "tf32"} | modern) - {"indices_type"}


def test_every_layer_is_added_as_that_version_wants_it(facts: dict[str, Any]) -> None:
    from trt_layers.test_layers import CASES

    from tfgraphopt_trt.layers import layer_map

    wrong = {}
    for case in CASES:
        try:
            problems = emit(facts, case.graph(), layer_map())[3].problems
        except EmitError as error:
            problems = [str(error)]
        if problems:
            wrong[f"{case.op} {case.name}"] = problems
    allowed = NOT_IN_10 if facts["version"].startswith("10.") else {}
    unexpected = {name: problems for name, problems in wrong.items() if name.split()[0] not in allowed}
    assert unexpected == {}
    assert {name.split()[0] for name in wrong} <= set(allowed)


def test_a_call_that_the_version_does_not_take_is_found(facts: dict[str, Any]) -> None:
    tensorrt, target = disguised(facts)
    network = tensorrt.module.Builder(make_logger(tensorrt.module, BuildLog())).create_network(0)
    x = network.add_input("x", tensorrt.module.DataType.FLOAT, tensorrt.module.Dims([2, 2]))
    assert target.problems == []
    with pytest.raises(AttributeError):
        network.add_everything(x)
    with pytest.raises(TypeError):
        network.add_identity(x, 3)
    with pytest.raises(TypeError):
        network.add_activation(x, "relu")
    assert len(target.problems) == 2
