"""Find the ranges of a model's tensors on sample data, for INT8; or add up what several machines have found."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tfgraphopt.cli import common
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.config import Config

HELP = "record ranges of tensors on data, for INT8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", nargs="?", default="", help=common.MODEL)
    parser.add_argument(
        "data", nargs="*",
        help=".npz files (an array for every input), .npy files (of the only input), .tfrecord files (tf.train.Example with a "
        "feature for every input; bytes are encoded images), or folders of images",
    )  # fmt: skip
    parser.add_argument("-o", "--output", required=True, type=Path, help="where the statistics go (.json)")
    parser.add_argument(
        "--merge", nargs="+", default=[], type=Path, metavar="FILE", help="add up these statistics instead"
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="samples a batch (default: %(default)s)")
    parser.add_argument(
        "--pixel-mean", type=float, default=0.0, metavar="X",
        help="images are fed as (pixel - mean) * scale, pixels 0 to 255 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--pixel-scale", type=float, default=1.0, metavar="X", help="default: %(default)s")
    parser.add_argument("--samples", type=int, metavar="N", help="samples at most")
    parser.add_argument(
        "--all", action="store_true", help="use all the data, also when the ranges do not move any more"
    )
    parser.add_argument("--calibrator", default="mse", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--resume", action="store_true", help="add to the statistics in the output file")
    common.add_model_arguments(parser, positional=False)
    common.add_config_arguments(parser)
    common.add_plugin_arguments(parser)
    common.add_json_argument(parser)


def run(options: argparse.Namespace) -> int:
    """Calibrate, or merge, and write."""
    from tfgraphopt.calibration import calibration_of
    from tfgraphopt.files import write_atomically

    tables = common.load_plugins(options)
    service = calibration_of(tables)
    if not options.merge:
        _calibrate(options)
    data, lines = service.merge(options.merge or [options.output])
    if options.merge:
        write_atomically(options.output, data)
    if options.json:
        common.print_json({"output": str(options.output), "lines": list(lines)})
        return 0
    for line in [*lines, f"written: {options.output}"]:
        print(line)
    return 0


def _calibrate(options: argparse.Namespace) -> None:
    from tfgraphopt.calibration import CalibrationRequest, calibration_of
    from tfgraphopt.cli.feeds import check_runnable
    from tfgraphopt.cli.samples import Pixels, batches_of, inputs_of
    from tfgraphopt.formats.load import load_model

    if not options.model or not options.data:
        raise ConfigError("calibrate needs a model and files of data", hint="or --merge with files of statistics")
    tables = common.load_plugins(options)
    with common.progress_bar() as progress:
        model = load_model(Path(options.model), options.outputs, options.signature, options.tags)
        check_runnable(model)
        given = common.config_of(options)
        config = attrs.evolve(given, precision="int8", options={**given.options, "int8": _int8_options(options, given)})
        paths, pixels = [Path(p) for p in options.data], Pixels(options.pixel_mean, options.pixel_scale)
        batches = batches_of(paths, options.batch, inputs_of(model.graph_def, model.outputs), pixels)
        calibration_of(tables).calibrate(
            CalibrationRequest(model.graph_def, model.outputs, config, tables, batches, progress, model.state)
        )


def _int8_options(options: argparse.Namespace, given: Config) -> dict[str, object]:
    found = {
        **given.options.get("int8", {}),
        "save": options.output,
        "calibrator": options.calibrator,
        "early_stop": not options.all,
    }
    if options.samples:
        found["samples"] = options.samples
    if options.resume:
        found["resume"] = options.output
    return found
