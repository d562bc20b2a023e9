"""The two calls: a calibration graph that computes the same bits and records, and the INT8 graph made from what it saw."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from engine_op.fresh import in_fresh_process

import tfgraphopt as tgo
from int8.running import in_function, in_session, small_graph
from tfgraphopt.errors import ConfigError, GraphDefError
from tfgraphopt.graphdef import GraphDef
from tfgraphopt_int8 import TensorStatistics
from tfgraphopt_int8.calibrating import statistics_of

RNG = np.random.default_rng(5)


def batch(size: int = 4) -> Any:
    return RNG.normal(size=(size, 8, 8, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def graph_def() -> Any:
    return small_graph()


@pytest.fixture
def calibration(graph_def: Any) -> Any:
    return tgo.create_inference_graph(graph_def, ["y"], max_batch_size=8, precision_mode="INT8")


@pytest.mark.parametrize("run", [in_session, in_function])
def test_calibration_graphs_compute_the_same_bits(graph_def: Any, calibration: Any, run: Any) -> None:
    feeds = {"x": batch()}
    np.testing.assert_array_equal(run(calibration, ["y"], feeds), run(graph_def, ["y"], feeds))


@pytest.mark.parametrize("run", [in_session, in_function])
def test_recorded_is_what_the_tensors_were(graph_def: Any, calibration: Any, run: Any) -> None:
    """Batches of several sizes, the last one short; the expected numbers are numpy's of what TensorFlow computes."""
    batches = [batch(4), batch(4), batch(1)]
    for x in batches:
        run(calibration, ["y"], {"x": x})
    seen = statistics_of(calibration)
    assert set(seen.wanted) == set(seen.tensors) == {"x", "relu", "relu_sum"}
    for name, statistics in seen.tensors.items():
        expected = TensorStatistics()
        for x in batches:
            value = x if name == "x" else in_session(graph_def, [name, "y"], {"x": x})[0]
            expected = expected.merge(TensorStatistics.of(value))
        assert statistics.batches == 3
        assert statistics.count == expected.count
        assert statistics.amax == pytest.approx(expected.amax, rel=1e-5)
        assert statistics.zeros == pytest.approx(expected.zeros, abs=3)
        assert np.abs(statistics.histogram.counts - expected.histogram.counts).sum() < 0.01 * expected.count  # type: ignore[union-attr]


def test_recording_exactly_what_python_computes(calibration: Any) -> None:
    """The tensor that is fed is the same bit for bit, so every number must be."""
    special = batch()
    special[0, 0, 0, :4] = 0.0, -0.0, 1e-40, -300.0
    in_session(calibration, ["y"], {"x": special})
    assert statistics_of(calibration).tensors["x"] == TensorStatistics.of(special)


def test_a_large_tensor_is_counted_in_parts_and_adds_up(calibration: Any) -> None:
    """In as many parts as TensorFlow has threads for, of different exponents, one of them all zero."""
    large = batch(900) * np.geomspace(1e-6, 1e6, 900, dtype=np.float32)[:, None, None, None]
    large[:200] = 0.0
    large[500, 0, 0, :2] = np.nan, np.inf
    small = batch()
    for x in (large, small):
        in_session(calibration, ["y"], {"x": x})
    expected = TensorStatistics.of(large).merge(TensorStatistics.of(small))
    assert statistics_of(calibration).tensors["x"] == expected


def test_nan_and_infinity_are_counted_and_named(calibration: Any) -> None:
    bad = batch()
    bad[0, 0, 0, :3] = np.nan, np.inf, -np.inf
    in_session(calibration, ["y"], {"x": bad})
    seen = statistics_of(calibration).tensors["x"]
    assert (seen.nans, seen.infinities, seen.count) == (1, 2, bad.size - 3)
    with pytest.raises(ConfigError, match="where: x\n"):
        tgo.calib_graph_to_infer_graph(calibration)


def test_concurrent_callers_lose_nothing(calibration: Any) -> None:
    x = batch()
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(calibration, name="")
        threads = [
            threading.Thread(target=lambda: [session.run("y:0", {"x:0": x}) for _ in range(20)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    seen = statistics_of(calibration).tensors["x"]
    assert (seen.batches, seen.count) == (160, 160 * x.size)
    assert seen.histogram.counts.sum() + seen.zeros == seen.count  # type: ignore[union-attr]


def test_an_import_under_a_scope_records_too(calibration: Any) -> None:
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.graph_util.import_graph_def(calibration, name="model/part")
        session.run("model/part/y:0", {"model/part/x:0": batch()})
    assert statistics_of(calibration).tensors.keys() == {"x", "relu", "relu_sum"}


def test_only_the_original_comes_back(graph_def: Any, calibration: Any) -> None:
    from tfgraphopt_int8.graphs import CalibrationGraph

    back = CalibrationGraph.of(calibration).original
    assert sorted(n.SerializeToString(deterministic=True) for n in back.node) == sorted(
        n.SerializeToString(deterministic=True) for n in graph_def.node
    )


def test_before_any_data_is_one_clear_error(calibration: Any) -> None:
    with pytest.raises(ConfigError, match=r"has not been run on data\n  where: relu, relu_sum, x\n"):
        tgo.calib_graph_to_infer_graph(calibration)


def test_other_graphs_are_no_calibration_graphs(graph_def: Any, calibration: Any) -> None:
    with pytest.raises(ConfigError, match="no calibration graph"):
        tgo.calib_graph_to_infer_graph(graph_def)
    with pytest.raises(GraphDefError, match="already"):
        tgo.create_inference_graph(calibration, ["y"], precision_mode="INT8")


def test_statistics_of_another_graph(calibration: Any, tmp_path: Path) -> None:
    other = tgo.create_inference_graph(small_graph(24), ["y"], precision_mode="INT8")
    in_session(other, ["y"], {"x": np.ones((1, 8, 8, 24), np.float32)})
    statistics_of(other).save(tmp_path / "other.json")
    with pytest.raises(ConfigError, match="of another graph"):
        tgo.calib_graph_to_infer_graph(calibration, statistics=tmp_path / "other.json")


@pytest.mark.slow
def test_another_process_records(graph_def: Any, calibration: Any, tmp_path: Path) -> None:
    """Calibrate in one process, save, convert in another: the engines are those of one process."""
    (tmp_path / "calibration.pb").write_bytes(calibration.SerializeToString())
    x = batch()
    np.save(tmp_path / "x.npy", x)
    script = (
        f"import os; os.chdir({str(tmp_path)!r});"
        "import numpy as np, tfgraphopt.runtime; from int8.running import in_session; from tfgraphopt.graphdef import GraphDef;"
        "from tfgraphopt_int8.calibrating import statistics_of; g = GraphDef.FromString(open('calibration.pb', 'rb').read());"
        "in_session(g, ['y'], {'x': np.load('x.npy')}); statistics_of(g).save('statistics.json')"
    )
    in_fresh_process(script)
    elsewhere = tgo.calib_graph_to_infer_graph(calibration, statistics=tmp_path / "statistics.json")
    in_session(calibration, ["y"], {"x": x})
    here = tgo.calib_graph_to_infer_graph(calibration)
    assert _plans(here) == _plans(elsewhere) != []


def _plans(graph_def: GraphDef) -> list[bytes]:
    return [n.attr["plan_digest"].s for n in graph_def.node if n.op == "TRTEngineOp"]
