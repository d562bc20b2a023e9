"""TF-TRT's interface, held against TensorFlow's own module, which is still there though it cannot run."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from formats.models import frozen_graph, images, numbers, save_everything, save_tf1
from formats.test_formats import WORDS, engines, equal, run_tf1
from int8.running import small_graph
from tensorflow.python.compiler.tensorrt import trt_convert as original

from tfgraphopt.compat import trt_convert as trt

LISTED = (
    "DEFAULT_TRT_MAX_WORKSPACE_SIZE_BYTES", "PROFILE_STRATEGY_RANGE", "PROFILE_STRATEGY_OPTIMAL", "PROFILE_STRATEGY_RANGE_OPTIMAL",
    "PROFILE_STRATEGY_IMPLICIT_BATCH_MODE_COMPATIBLE", "supported_profile_strategies", "TrtPrecisionMode", "TrtConversionParams",
    "DEFAULT_TRT_CONVERSION_PARAMS", "TrtGraphConverter", "TrtGraphConverterV2", "create_inference_graph",
    "calib_graph_to_infer_graph", "get_tensorrt_rewriter_config", "Converter", "ConversionParams",
)  # fmt: skip
CALLABLES = (
    "TrtGraphConverter.__init__", "TrtGraphConverter.convert", "TrtGraphConverter.calibrate", "TrtGraphConverter.save",
    "TrtGraphConverterV2.__init__", "TrtGraphConverterV2.convert", "TrtGraphConverterV2.build", "TrtGraphConverterV2.save",
    "TrtGraphConverterV2.summary", "TrtConversionParams.__new__", "create_inference_graph", "get_tensorrt_rewriter_config",
    "supported_profile_strategies",
)  # fmt: skip
CONTRIB = (
    "input_graph_def", "outputs", "max_batch_size", "max_workspace_size_bytes", "precision_mode", "minimum_segment_size",
    "is_dynamic_op", "maximum_cached_engines",
)  # fmt: skip


# -- names, parameters, defaults -----------------------------------------------------------------------------------------


def test_every_public_name_of_the_original_is_there() -> None:
    tree = ast.parse(Path(original.__file__).read_text())
    defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    defined |= {
        t.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Assign)
        for t in n.targets
        if isinstance(t, ast.Name) and t.id.isupper()
    }
    public = {name for name in defined if not name.startswith("_")}
    assert len(public) > 12
    assert public - {"FP32", "FP16", "INT8"} <= set(trt.__all__)
    assert set(LISTED) <= set(trt.__all__)


def parameters(module: Any, path: str) -> list[tuple[str, Any]]:
    """Names and defaults of what ``path`` leads to."""
    found = module
    for name in path.split("."):
        found = getattr(found, name)
    found = inspect.unwrap(found)
    return [
        (p.name, p.default) for p in inspect.signature(found).parameters.values()
        if p.kind is not inspect.Parameter.KEYWORD_ONLY and p.name not in ("self", "cls", "_cls")
    ]  # fmt: skip


@pytest.mark.parametrize("path", CALLABLES)
def test_parameters_and_defaults_are_those_of_the_original(path: str) -> None:
    assert parameters(trt, path) == parameters(original, path)


def test_constants_are_those_of_the_original() -> None:
    for name in (n for n in trt.__all__ if n.isupper() and "PARAMS" not in n):
        assert getattr(trt, name) == getattr(original, name)
    assert tuple(trt.DEFAULT_TRT_CONVERSION_PARAMS) == tuple(original.DEFAULT_TRT_CONVERSION_PARAMS)
    assert trt.supported_profile_strategies() == original.supported_profile_strategies()
    modes = trt.TrtPrecisionMode
    assert modes.supported_precision_modes() == original.TrtPrecisionMode.supported_precision_modes()
    assert trt.TrtConversionParams()._replace(precision_mode="FP16").precision_mode == "FP16"


def test_the_calls_of_contrib_bind() -> None:
    signature = inspect.signature(trt.create_inference_graph)
    assert tuple(signature.parameters)[: len(CONTRIB)] == CONTRIB
    signature.bind(
        None,
        None,
        cached_engine_batches=[1, 8],
        cached_engine_batch_sizes=[2],
        session_config=None,
        use_calibration=True,
    )
    assert list(inspect.signature(trt.calib_graph_to_infer_graph).parameters) == [
        "calibration_graph_def",
        "is_dynamic_op",
    ]


# -- the converter of TensorFlow 2 ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_everything(tmp_path_factory.mktemp("everything")))


def batches() -> Iterator[Any]:
    yield {"x": images(2), "words": WORDS[:2]}
    yield [WORDS, images(3)]  # in the order of the names


def test_convert_build_save(everything: str, tmp_path: Path) -> None:
    converter = trt.TrtGraphConverterV2(everything, precision_mode="FP32", use_dynamic_shape=True)
    function = converter.convert()
    before = tf.saved_model.load(everything)
    call = {"x": tf.constant(images()), "words": tf.constant(WORDS)}
    equal(function(**call)["scores"], before.signatures["serving_default"](**call)["scores"])
    converter.build(batches)
    converter.save(str(tmp_path / "out"))
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    equal(loaded.signatures["serving_default"](**call)["label"], before.signatures["serving_default"](**call)["label"])
    assert engines(tmp_path / "out") == ["TRTEngineOp_000_000"]
    assert len(list((tmp_path / "out" / "assets").glob("*.plan"))) == 1
    with pytest.raises(NotImplementedError, match="already"):
        converter.build(batches)


def test_a_model_is_built_by_save_where_build_was_not_called(everything: str, tmp_path: Path) -> None:
    converter = trt.TrtGraphConverterV2(everything, input_saved_model_signature_key="embed")
    converter.convert()
    with pytest.warns(UserWarning, match=r"first request[\s\S]*batches 1 to 32"):
        converter.save(str(tmp_path / "built"))
    assert list((tmp_path / "built" / "assets").glob("*.plan"))
    converter.save(str(tmp_path / "bare"), save_gpu_specific_engines=False)
    assert engines(tmp_path / "bare")
    assert not list((tmp_path / "bare" / "assets").glob("*.plan"))


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("convolutions") / "model"
    weights = tf.Variable(numbers(3, 3, 16, 16) / 12)
    module = tf.Module()
    module.weights = weights

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 16], tf.float32, name="x")])
    def network(x: Any) -> dict[str, Any]:
        for _ in range(2):
            x = tf.nn.relu(tf.nn.conv2d(x, weights, 1, "SAME"))
        return {"y": x}

    tf.saved_model.save(module, str(path), signatures=network)
    return str(path)


@pytest.mark.parametrize("dynamic", [False, True])
def test_int8_is_calibrated_by_convert_or_by_build(dynamic: bool, convolutions: str, tmp_path: Path) -> None:
    def data() -> Iterator[Any]:
        for seed in range(3):
            yield (numbers(4, 8, 8, 16, seed=seed),)

    converter = trt.TrtGraphConverterV2(convolutions, precision_mode="INT8", use_dynamic_shape=dynamic)
    converter.convert(data)
    if dynamic:
        with pytest.raises(RuntimeError, match="calibrated"):
            converter.save(str(tmp_path / "early"))
    converter.build(data)
    converter.save(str(tmp_path / "out"))
    assert list((tmp_path / "out" / "assets").glob("*.plan"))
    assert converter._result is not None
    (segment,) = converter._result.report.segments.values()
    assert segment.layers["QUANTIZE"] > 0


def test_the_summary_counts_engines_and_ops(everything: str) -> None:
    converter = trt.TrtGraphConverterV2(everything, input_saved_model_signature_key="embed")
    with pytest.raises(RuntimeError, match=r"convert\(\)"):
        converter.summary()
    converter.convert()
    lines: list[str] = []
    converter.summary(print_fn=lines.append)
    text = "\n".join(lines)
    for column in ("TRTEngineOP Name", "# Nodes", "Input DTypes", "Output Shapes"):
        assert column in lines[0]
    assert re.search(r"TRTEngineOp_000_000 .*\[float\w*\].*\(-1, 8\)", text)
    assert "\t- MatMul: 2x" in text
    assert "Total number of TensorRT engines: 1" in text
    assert re.search(r"% of OPs Converted: \d+\.\d\d% \[\d+/\d+\]", text)
    assert max(len(line) for line in lines) <= 160
    converter.summary(detailed=False, print_fn=lines.append)
    with pytest.raises(ValueError, match="160"):
        converter.summary(line_length=80)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"precision_mode": "FP12"}, "FP12"),
        ({"minimum_segment_size": 0}, "must be positive"),
        ({"use_dynamic_shape": True, "dynamic_shape_profile_strategy": "best"}, "strategy 'best'"),
    ],
)
def test_wrong_parameters_are_value_errors(given: dict[str, Any], said: str, everything: str) -> None:
    with pytest.raises(ValueError, match=said):
        trt.TrtGraphConverterV2(everything, **given)


def test_calls_out_of_order_are_the_errors_of_the_original(everything: str) -> None:
    with pytest.raises(ValueError, match="calibration_input_fn is missing"):
        trt.TrtGraphConverterV2(everything, precision_mode="INT8").convert()
    with pytest.raises(ValueError, match="nothing is calibrated"):
        trt.TrtGraphConverterV2(everything).convert(batches)
    converter = trt.TrtGraphConverterV2(everything)
    with pytest.raises(RuntimeError, match="input_fn is None"):
        converter.build(None)
    with pytest.raises(RuntimeError, match=r"convert\(\) before build"):
        converter.build(batches)
    with tf.Graph().as_default(), pytest.raises(RuntimeError, match="eager"):
        trt.TrtGraphConverterV2(everything)


def test_what_has_no_effect_warns_and_says_what_replaced_it(everything: str) -> None:
    with pytest.warns(UserWarning, match=r"maximum_cached_engines has no effect[\s\S]*profiles"):
        trt.TrtGraphConverterV2(everything, maximum_cached_engines=4)
    with pytest.warns(DeprecationWarning, match="conversion_params is deprecated"):
        trt.TrtGraphConverterV2(everything, conversion_params=trt.TrtConversionParams(precision_mode="FP16"))
    strategy = {"use_dynamic_shape": True, "dynamic_shape_profile_strategy": "ImplicitBatchModeCompatible"}
    with pytest.warns(UserWarning, match="ImplicitBatchModeCompatible"):
        trt.TrtGraphConverterV2(everything, **strategy)


def test_a_minimum_segment_size_of_minus_one_converts_nothing(everything: str) -> None:
    converter = trt.TrtGraphConverterV2(everything, input_saved_model_signature_key="embed", minimum_segment_size=-1)
    converter.convert()
    assert converter._result is not None
    assert not converter._result.report.segments


# -- graph mode ----------------------------------------------------------------------------------------------------------


def run_graph(graph_def: Any, fetch: str, x: Any) -> Any:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(graph_def, name="")
        return session.run(fetch, {"x:0": x})


def test_the_converter_of_graph_mode_takes_a_graph() -> None:
    with tf.Graph().as_default():
        converted = trt.TrtGraphConverter(
            input_graph_def=frozen_graph(), nodes_denylist=["scores"], max_batch_size=4
        ).convert()
    ops = {n.name: n.op for n in converted.node}
    assert ops["scores"] == "Softmax"
    assert "TRTEngineOp" in ops.values()
    np.testing.assert_allclose(
        run_graph(converted, "scores:0", images()), run_graph(frozen_graph(), "scores:0", images()), rtol=1e-5
    )


def test_the_converter_of_graph_mode_calibrates() -> None:
    graph_def, x = small_graph(), numbers(2, 8, 8, 16)
    with tf.Graph().as_default():
        converter = trt.TrtGraphConverter(
            input_graph_def=graph_def, nodes_denylist=["y"], max_batch_size=4, precision_mode="int8"
        )
        calibration = converter.convert()
        np.testing.assert_array_equal(run_graph(calibration, "y:0", x), run_graph(graph_def, "y:0", x))
        with pytest.raises(ValueError, match="one of"):
            converter.calibrate(["y:0"], 1)
        converted = converter.calibrate(["y:0"], 3, feed_dict_fn=lambda: {"x:0": x})
        with pytest.raises(ValueError, match="not saved"):
            converter.save("/tmp/nowhere")
    assert "TRTEngineOp" in {n.op for n in converted.node}


def test_calibration_data_may_be_tensors_of_the_graph() -> None:
    with tf.Graph().as_default():
        converter = trt.TrtGraphConverter(
            input_graph_def=small_graph(), nodes_denylist=["y"], max_batch_size=4, precision_mode="INT8"
        )
        converter.convert()
        with pytest.raises(ValueError, match="tensors"):
            converter.calibrate(["y"], 1, input_map_fn=lambda: {"x": 3})
        converted = converter.calibrate(["y"], 3, input_map_fn=lambda: {"x": tf.random.normal([2, 8, 8, 16])})
    assert "TRTEngineOp" in {n.op for n in converted.node}


def test_the_converter_of_graph_mode_takes_and_saves_a_saved_model(tmp_path: Path) -> None:
    path = save_tf1(tmp_path / "tf1", resource=False)
    with tf.Graph().as_default():
        converter = trt.TrtGraphConverter(input_saved_model_dir=str(path), max_batch_size=4)
        converter.convert()
        converter.save(str(tmp_path / "out"))
    equal(
        run_tf1(tmp_path / "out", "serving_default", {"x": images()}), run_tf1(path, "serving_default", {"x": images()})
    )
    with pytest.raises(RuntimeError, match="TrtGraphConverterV2"):
        trt.TrtGraphConverter(input_saved_model_dir=str(path))
    with tf.Graph().as_default(), pytest.raises(ValueError, match="one of"):
        trt.TrtGraphConverter()


def test_create_inference_graph_and_the_two_calls_of_int8(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="is_dynamic_op has no effect"):
        graph = trt.create_inference_graph(frozen_graph(), ["scores"], 4, 1 << 30, "FP16", 3, is_dynamic_op=True)
    assert "TRTEngineOp" in {n.op for n in graph.node}
    calibration = trt.create_inference_graph(small_graph(), ["y"], 4, precision_mode="INT8")
    run_graph(calibration, "y:0", numbers(2, 8, 8, 16))
    assert "TRTEngineOp" in {n.op for n in trt.calib_graph_to_infer_graph(calibration).node}
    path = save_tf1(tmp_path / "tf1", resource=True)
    made = trt.create_inference_graph(
        None, None, 4, input_saved_model_dir=str(path), output_saved_model_dir=str(tmp_path / "out")
    )
    assert engines(tmp_path / "out")
    assert "TRTEngineOp" in {n.op for n in made.node}
    with pytest.raises(ValueError, match="one of"):
        trt.create_inference_graph(None, None)


def test_the_rewriter_config_is_what_is_left_of_it() -> None:
    with pytest.warns(DeprecationWarning, match="TensorRTOptimizer"):
        config = trt.get_tensorrt_rewriter_config(trt.DEFAULT_TRT_CONVERSION_PARAMS, is_dynamic_op=True, is_v2=True)
    assert "layout" in config.optimizers
    assert not config.custom_optimizers
    with pytest.raises(ValueError, match="max_batch_size"):
        trt.get_tensorrt_rewriter_config(trt.DEFAULT_TRT_CONVERSION_PARAMS, is_dynamic_op=True, max_batch_size=4)


# -- the environment -----------------------------------------------------------------------------------------------------


def converted(everything: str) -> Any:
    converter = trt.TrtGraphConverterV2(everything, input_saved_model_signature_key="embed", minimum_segment_size=1)
    converter.convert()
    return converter._result


def test_ops_of_the_denylist_stay_and_the_report_says_so(
    everything: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("TF_TRT_OP_DENYLIST", "Tanh,Cos")
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", "1")
    assert len(converted(everything).report.segments) == 2
    printed = capsys.readouterr().out
    assert "non-converted OP Report" in printed
    assert "- Tanh -> 1x" in printed
    assert "[Count: 1x] op Tanh is denied by the caller" in printed
    monkeypatch.setenv("TF_TRT_SHOW_DETAILED_REPORT", str(tmp_path / "report.csv"))
    monkeypatch.setenv("TF_TRT_MAX_ALLOWED_ENGINES", "1")
    assert len(converted(everything).report.segments) == 1
    rows = (tmp_path / "report.csv").read_text().splitlines()
    assert rows[0] == "OP Name|Reason|Count"
    assert "Tanh|op Tanh is denied by the caller|1" in rows


def test_the_graph_is_drawn(everything: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TF_TRT_EXPORT_GRAPH_VIZ_PATH", str(tmp_path / "graph.dot"))
    converted(everything)
    text = (tmp_path / "graph.dot").read_text()
    assert text.startswith("digraph")
    assert '"x" -> "TRTEngineOp_000_000"' in text


def test_variables_without_meaning_warn(everything: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_TRT_FIXED_ALGORITHM_ID", "3")
    with pytest.warns(UserWarning, match="TF_TRT_FIXED_ALGORITHM_ID has no effect"):
        converted(everything)


def test_native_segments_may_be_forbidden(everything: str, tmp_path: Path) -> None:
    converter = trt.TrtGraphConverterV2(everything, input_saved_model_signature_key="embed")
    converter.convert()
    converter.save(str(tmp_path / "out"), save_gpu_specific_engines=False)
    code = (
        "import sys, tensorflow as tf, tfgraphopt.runtime\n"
        "tf.saved_model.load(sys.argv[1]).signatures['embed'](tf.ones([2, 8]))\n"
    )
    import os

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "out")], capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION": "false"},
    )  # fmt: skip
    assert done.returncode != 0
    assert "may not run its TensorFlow body" in done.stderr


def test_the_migration_page_lists_every_name() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "migrate.md").read_text()
    missing = [name for name in LISTED if f"`{name}" not in page]
    assert not missing
    for variable in re.findall(r"TF_TRT_[A-Z_]+", page):
        assert variable.startswith("TF_TRT_")
    from tfgraphopt.compat import environment

    known = {v for n, v in vars(environment).items() if isinstance(v, str) and v.startswith("TF_TRT_")} | set(
        environment._GONE
    )
    assert known <= set(re.findall(r"TF_TRT_[A-Z_]+", page))
