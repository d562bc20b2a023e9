"""Find the ranges of a model's tensors on sample data, for INT8; or add up what several machines have found."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from tfgraphopt.cli import common
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.cli.feeds import Array
    from tfgraphopt.config import Config

HELP = "record ranges of tensors on data, for INT8"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", nargs="?", default="", help=common.MODEL)
    parser.add_argument(
        "data", nargs="*", help=".npz files (an array for every input) or .npy files (of the only input)"
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="where the statistics go (.json)")
    parser.add_argument(
        "--merge", nargs="+", default=[], type=Path, metavar="FILE", help="add up these statistics instead"
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="samples a batch (default: %(default)s)")
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
    from tfgraphopt.formats.load import load_model

    if not options.model or not options.data:
        raise ConfigError("calibrate needs a model and files of data", hint="or --merge with files of statistics")
    tables = common.load_plugins(options)
    with common.progress_bar() as progress:
        model = load_model(Path(options.model), options.outputs, options.signature, options.tags)
        given = common.config_of(options)
        config = attrs.evolve(given, precision="int8", options={**given.options, "int8": _int8_options(options, given)})
        batches = batches_of([Path(p) for p in options.data], options.batch)
        calibration_of(tables).calibrate(
            CalibrationRequest(model.graph_def, model.outputs, config, tables, batches, progress)
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


def batches_of(paths: Sequence[Path], size: int) -> Iterator[dict[str, Array] | Array]:
    """The arrays of files, cut along their first axis into batches of ``size``; the last of a file may be short.

    Raises:
        ConfigError: a file holds no arrays, or arrays of different lengths.
    """
    for path in paths:
        arrays = _read(path)
        lengths = {a.shape[0] if a.ndim else 1 for a in arrays.values()}
        if len(lengths) != 1:
            raise ConfigError(f"the arrays of {path} have different numbers of samples: {sorted(lengths)}")
        for start in range(0, lengths.pop(), size):
            part = {n: a[start : start + size] if a.ndim else a for n, a in arrays.items()}
            yield part[""] if "" in part else part


def _read(path: Path) -> dict[str, Array]:
    """Arrays by input name; the name of a ``.npy`` file's array is empty."""
    import numpy as np

    from tfgraphopt.cli.feeds import read_feeds

    if path.suffix != ".npy":
        return read_feeds(path)
    try:
        return {"": np.load(path, allow_pickle=False)}
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"{path} holds no array", why=str(error), hint="write it with numpy.save(path, array)"
        ) from error
