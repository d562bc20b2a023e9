"""Layers and transposes that move data when a model reaches TensorRT by ONNX: tf2onnx, then NVIDIA's ONNX parser.

    python -m benchmarks.onnx_route ResNet50 VGG16      (from tests/; the seven of docs/plugins/layout.md without arguments)

Needs ``pip install tf2onnx==1.17.0``. The network is parsed, not built. ``--pixels 64`` takes images of another size, and dense layers that
follow from it: the exporter needs more than 20 GB for those of VGG16 as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from tfgraphopt_trt.build import real_transposes
from tfgraphopt_trt.build_log import BuildLog, make_logger
from tfgraphopt_trt.tensorrt_api import load
from zoo import keras_models
from zoo.frozen import FrozenModel

MODELS = ("ResNet50", "VGG16", "MobileNetV2", "EfficientNetB0", "DenseNet121", "InceptionV3", "Xception")
OPSET = 18


def exported(model: FrozenModel) -> bytes:
    """The model in ONNX."""
    import tf2onnx

    inputs, outputs = [f"{i.name}:0" for i in model.inputs], [f"{o}:0" for o in model.outputs]
    made, _ = tf2onnx.convert.from_graph_def(
        model.graph_def, input_names=inputs, output_names=outputs, opset=OPSET, large_model=False
    )
    data: bytes = made.SerializeToString()
    return data


def row(model: FrozenModel) -> str:
    """Name, layers, transposes that move data, seconds of the export."""
    started = time.perf_counter()
    data = exported(model)
    seconds = time.perf_counter() - started
    trt, log = load().module, BuildLog()
    logger = make_logger(trt, log)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(data):
        return f"| {model.name} | the parser refuses it: {' '.join(log.errors())} |"
    return f"| {model.name} | {network.num_layers} | {real_transposes(trt, network)} | {seconds:.0f} |"


def rows(names: Sequence[str], pixels: int | None) -> Iterator[str]:
    """The lines of the table, as they are found."""
    yield from ("| model | layers | transposes | export s |", "| --- | --- | --- | --- |")
    for name in names:
        yield row(keras_models.build(name) if pixels is None else keras_models.build_unmeasured(name, pixels=pixels))


def main(arguments: Sequence[str]) -> None:
    """Measure the named models, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, help="names from zoo.keras_models.NAMES")
    parser.add_argument("--pixels", type=int, help="edge of the images")
    options = parser.parse_args(arguments)
    for line in rows(options.models, options.pixels):
        print(line, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
