"""Predicted accuracy: against half arithmetic done by hand, on the command line, and the search for culprits."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from precision import encoder
from precision.bodies import LAYERS, TABLES, Writer, convolution, decider
from tfgraphopt.cli import main
from tfgraphopt.config import Config
from tfgraphopt.verification import Errors, Verification, VerifyRequest
from tfgraphopt_precision import Range, Ranges, load_ranges, measure
from tfgraphopt_precision.culprits import smallest

RNG = np.random.default_rng(0)
FEEDS = {"x": RNG.normal(size=(4, 64)).astype(np.float32)}


def predicted(graph: Any, feeds: Any, precision: str = "fp16", config: Any = None, **asked: Any) -> Verification:
    settings = Config(precision=precision, max_batch_size=4, options={"precision": config or {}})
    request = VerifyRequest(*graph, settings, TABLES, feeds, **asked)
    (found,) = TABLES.call("tfgraphopt_verify", {"request": request})
    return found


def product(scale: float = 1.0) -> Any:
    weights = scale * RNG.normal(size=(64, 64)).astype(np.float32)
    more = RNG.normal(size=(64, 64)).astype(np.float32)

    def run(x: Any) -> Any:
        return tf.nn.relu(tf.matmul(tf.nn.tanh(tf.matmul(x, weights)), more))

    return encoder.frozen(run, tf.TensorSpec([None, 64], tf.float32, "x")), weights, more


def test_the_prediction_is_what_half_operands_and_float32_sums_give() -> None:
    graph, first, second = product()
    found = predicted(graph, FEEDS, config={"lower": ["*"]})

    def half(a: np.ndarray) -> np.ndarray:
        return a.astype(np.float16).astype(np.float32)

    made = half(np.maximum(half(half(np.tanh(half(half(FEEDS["x"]) @ half(first)))) @ half(second)), 0))
    wanted = np.maximum(np.tanh(FEEDS["x"] @ first) @ second, 0)
    assert found.outputs["y"].max_abs == pytest.approx(float(np.abs(made - wanted).max()), rel=0.2)
    assert found.outputs["y"].snr_db > 50
    assert predicted(graph, FEEDS, "fp32").outputs["y"].max_rel < 1e-6
    assert predicted(graph, FEEDS, "bf16").outputs["y"].snr_db < found.outputs["y"].snr_db


def test_layer_norm_and_softmax_beyond_65504() -> None:
    graph = encoder.overflowing()
    naive = predicted(graph, FEEDS, config={"lower": ["*"]})
    assert naive.outputs["y"].bad > 0
    ours = predicted(graph, FEEDS, measure=True)
    assert ours.outputs["y"].bad == 0
    assert ours.outputs["y"].max_rel < 1e-3
    assert predicted(graph, FEEDS, "bf16").outputs["y"].bad == 0


def test_the_search_repairs_what_overflows() -> None:
    graph = encoder.overflowing()
    found = predicted(graph, FEEDS, tolerance=1e-2)
    assert found.outputs["y"].bad > 0
    assert found.within(1e-2)
    assert found.culprits is not None
    assert 1 <= len(found.culprits) <= 3
    assert all(c.nodes and c.error > 0 for c in found.culprits)
    plans = found.artefacts["plans"]["plans"]
    origins = [p["origin"] for plan in plans.values() for p in plan["layers"].values()]
    assert origins.count("search") == len(found.culprits)
    assert predicted(graph, FEEDS, tolerance=1e-2, search=False).culprits is None


def test_an_encoder_keeps_its_accuracy() -> None:
    found = predicted(encoder.encoder(layers=2, hidden=64, length=16), encoder.encoder_feeds(length=16))
    assert found.outputs["y"].max_rel < 5e-3
    assert set(found.segments) == {"TRTEngineOp_000_000"}


def test_two_segments_pass_their_errors_on() -> None:
    weights = RNG.normal(size=(64, 64)).astype(np.float32)

    def run(x: Any) -> Any:
        y = tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(x, weights)), weights))
        y = tf.cast(tf.cast(y, tf.complex64), tf.float32)
        return tf.nn.relu(tf.matmul(tf.nn.relu(tf.matmul(y, weights)), weights))

    graph = encoder.frozen(run, tf.TensorSpec([None, 64], tf.float32, "x"))
    found = predicted(graph, FEEDS)
    assert len(found.segments) == 2
    last = list(found.segments.values())[-1]
    assert found.outputs["y"].snr_db < min(e.snr_db for e in last.values())


def test_ranges_are_measured_merged_and_kept(tmp_path: Path) -> None:
    w = Writer(x=(None, 4, 8, 8))
    graph = w.done(convolution(w, w["x"], 4, "conv"))
    one, two = (RNG.normal(scale=s, size=(1, 4, 8, 8)).astype(np.float32) for s in (1.0, 3.0))
    both = measure(graph, LAYERS, [[one], [two]])
    assert both == measure(graph, LAYERS, [[one]]).merge(measure(graph, LAYERS, [[two]]))
    every = np.concatenate([one, two])
    assert both.get("x") == Range(float(every.min()), float(every.max()), float(np.abs(every).max()))
    assert Ranges.from_json(json.loads(json.dumps(both.to_json()))) == both
    assert decider(ranges=both).decide(graph).layers["conv"].origin != "rule:measured-range"


finite = st.floats(-1e6, 1e6, width=32)


@given(st.lists(finite, min_size=1, max_size=8))
def test_errors_of_an_array_against_itself_are_none(numbers: list[float]) -> None:
    array = np.array([*numbers, np.inf, np.nan], np.float32)
    found = Errors.between(array, array)
    assert (found.max_abs, found.max_rel, found.bad) == (0.0, 0.0, 0)
    wrong = Errors.between(np.where(np.isinf(array), 0, array), array)
    assert wrong.bad == 1
    assert not wrong.within(1e9)


@given(st.integers(0, 7), st.randoms())
def test_the_smallest_set_is_found_and_minimal(count: int, random: Any) -> None:
    names = [f"n{i}" for i in range(7)]
    needed = set(random.sample(names, min(count, 7)))
    random.shuffle(names)
    found = smallest(names, lambda chosen: needed <= set(chosen))
    assert found is not None
    assert set(found) == needed
    assert smallest(names, lambda chosen: False) is None


# -- the command line ----------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    model, data = tmp_path / "model.pb", tmp_path / "data.npz"
    model.write_bytes(encoder.overflowing()[0].SerializeToString())
    np.savez(data, **FEEDS)
    return model, data


def test_the_command_measures_searches_and_saves(files: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    model, data = map(str, files)
    plan, ranges = tmp_path / "plan.json", tmp_path / "ranges.json"
    command = ["verify", model, "--data", data, "--precision", "fp16", "--max-batch-size", "4"]
    assert main([*command, "--tolerance", "1e-3", "--no-search"]) == 3
    assert "NOT met" in capsys.readouterr().out
    assert main([*command, "--tolerance", "1e-2", "--save-plan", str(plan)]) == 0
    assert "smallest set" in capsys.readouterr().out
    assert main([*command, "--tolerance", "1e-2", "--no-search", "--plan", str(plan)]) == 0
    assert main([*command, "--tolerance", "1e-3", "--no-search", "--save-ranges", str(ranges), "--json"]) == 0
    capsys.readouterr()
    assert load_ranges(ranges)["TRTEngineOp_000_000"].by_name
    assert main([*command, "--ranges", str(ranges), "--json", "--tolerance", "1e-3"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert [e["bad"] for e in tree["outputs"].values()] == [0]
    assert tree["culprits"] is None


def test_random_data_only_when_asked_and_said(files: tuple[Path, Path], capsys: Any) -> None:
    command = ["verify", str(files[0]), "--precision", "fp16", "--max-batch-size", "4"]
    assert main(command) == 1
    assert "--random" in capsys.readouterr().err
    assert main([*command, "--random"]) == 0
    assert "the data is random" in capsys.readouterr().out


def test_wrong_data_is_one_clear_error(files: tuple[Path, Path], tmp_path: Path, capsys: Any) -> None:
    wrong = tmp_path / "wrong.npz"
    cases = [
        ({"z": FEEDS["x"]}, "there is no input 'z'\n  what to do: the inputs are x"),
        ({"x": FEEDS["x"][:, :3]}, "does not take this data"),
    ]
    for arrays, words in cases:
        np.savez(wrong, **arrays)
        assert (
            main(["verify", str(files[0]), "--precision", "fp16", "--max-batch-size", "4", "--data", str(wrong)]) == 1
        )
        assert words in capsys.readouterr().err


def test_explain_prints_why_a_layer_is_in_float32(files: tuple[Path, Path], capsys: Any) -> None:
    assert main(["explain", str(files[0]), "--precision", "fp16", "--max-batch-size", "4"]) == 0
    printed = "".join(itertools.chain(capsys.readouterr().out))
    assert "float32 layer" in printed
    assert "exponentials" in printed
