"""Plans of OpenVINO engines come from the engine cache the second time, under keys of all that decides about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

import tfgraphopt as tgo
from openvino_engine.nets import ENGINE, RANGES, assert_close, both, cnn, images, optimised
from tfgraphopt import plugins
from tfgraphopt.cli import main
from tfgraphopt.ir import DType, Graph, Shape, TensorType
from tfgraphopt_openvino.mapping import LAYERS_HOOK, OpenVinoLayer, Writer
from tfgraphopt_openvino.openvino_api import load
from tfgraphopt_openvino.plan_key import PlanKeys, writers
from tfgraphopt_trt.layers import layer_table
from tfgraphopt_trt.profiles import InputRange

LARGE = {"x": tgo.ShapeRange((8, 96, 96, 3), (8, 96, 96, 3), (8, 96, 96, 3))}


@pytest.fixture(autouse=True)
def directory(clean_counters: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, once the op is loaded from the user's; returns where its engines are."""
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path))
    return tmp_path / "engines"


def cached(graph_def: Any, **options: Any) -> tgo.Result:
    """As :func:`optimised`, with the cache."""
    return optimised(graph_def, ["y", "map"], **{"options": {"engine_cache": True}, "input_shapes": RANGES, **options})


def test_a_second_optimisation_takes_the_plan_from_the_cache(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = cached(cnn()).report.segments[ENGINE]
    (entry,) = directory.glob("*.plan")
    written = entry.stat().st_ino
    result = cached(cnn())
    second = result.report.segments[ENGINE]
    assert (first.cached, second.cached) == (False, True)
    assert attrs.evolve(second, cached=False) == first
    assert [p.stat().st_ino for p in directory.glob("*.plan")] == [written]
    for expected, made in both(cnn(), result, {"x": images(2)}, ["y", "map"]):
        assert_close(expected, made)

    capsys.readouterr()
    assert main(["cache", "ls", "--cache", "engines", "--json"]) == 0
    assert [e["name"] for e in json.loads(capsys.readouterr().out)["engines"]["entries"]] == [ENGINE]


def test_a_damaged_entry_is_built_again(directory: Path) -> None:
    digest = cached(cnn()).report.segments[ENGINE].engine_digest
    (entry,) = directory.glob("*.plan")
    entry.write_bytes(entry.read_bytes()[:-1])
    segment = cached(cnn()).report.segments[ENGINE]
    assert (segment.cached, segment.engine_digest) == (False, digest)


def test_a_cache_that_others_can_write_is_not_used_and_the_report_says_so(directory: Path) -> None:
    directory.mkdir()
    directory.chmod(0o777)
    for _ in range(2):
        report = cached(cnn()).report
        assert not report.segments[ENGINE].cached
        assert any("engines are not cached" in message for message in report.messages)
    assert not list(directory.glob("*.plan"))


def test_what_auto_drops_is_dropped_though_the_plan_was_built_by_name() -> None:
    assert cached(cnn()).report.segments[ENGINE].status == "built"
    assert cached(cnn(), engine="auto").report.segments[ENGINE].status == "segment dropped"
    assert not cached(cnn(), engine="auto", input_shapes=LARGE).report.segments[ENGINE].cached
    assert cached(cnn(), engine="auto", input_shapes=LARGE).report.segments[ENGINE].cached


def body(size: int = 3) -> Graph:
    graph = Graph("g", layer_table(), dialect="trt")
    graph.add_input("x", TensorType(DType.FLOAT, Shape((None, size))))
    return graph


def test_the_key_is_made_of_all_that_decides_about_the_plan() -> None:
    tables = plugins.load(strict=True)
    keys = PlanKeys(load(), {"INFERENCE_PRECISION_HINT": "f32"}, 0, writers(tables))
    batch, wider = ({0: InputRange((1, 3), (8, 3), (n, 3))} for n in (8, 9))
    assert keys.of(body(), [batch]) == attrs.evolve(keys, writers=writers(plugins.load())).of(body(), [batch])
    other = [
        keys.of(body(4), [batch]),
        keys.of(body(), [wider]),
        keys.of(body(), [batch, batch]),
        attrs.evolve(keys, openvino=attrs.evolve(load(), build="2099.0.0-1-abc")).of(body(), [batch]),
        attrs.evolve(keys, properties={"INFERENCE_PRECISION_HINT": "f16"}).of(body(), [batch]),
        attrs.evolve(keys, least=4).of(body(), [batch]),
        attrs.evolve(keys, writers=writers(_with_another_mapping(tables))).of(body(), [batch]),
    ]
    assert len({*other, keys.of(body(), [batch])}) == len(other) + 1


def _with_another_mapping(tables: plugins.Tables) -> plugins.Tables:
    """Tables in which a mapping of this module has taken over a layer."""

    def emit(writer: Writer, node: Any) -> Sequence[Any]:
        return [writer.tensor(node.inputs[0])]

    mine = plugins.Contribution("mine", OpenVinoLayer("trt.softmax", emit))
    by_key = {**tables.by_key, LAYERS_HOOK: {**tables.by_key[LAYERS_HOOK], "trt.softmax": mine}}
    return attrs.evolve(tables, by_key=by_key)
