"""Arguments and output that several commands share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from tfgraphopt.config import ENGINES, PRECISIONS, Config, ShapeRange
from tfgraphopt.errors import ConfigError

if TYPE_CHECKING:
    from tfgraphopt.formats.load import LoadedModel
    from tfgraphopt.optimization import Progress, Result
    from tfgraphopt.plugins import Tables
    from tfgraphopt.running import SignatureRunner

EXIT_NO = 3
"""The command did its work and the answer is no: a tolerance or a speed-up is missed, a culprit or a problem was found."""

VALUES = "PLUGIN.KEY=VALUE"
"""Of options whose values are TOML."""
MODEL = "GraphDef (.pb, .pbtxt), SavedModel or TF-Hub directory, Keras model (.keras, .h5), or TF1 checkpoint (its prefix, or .meta)"


def add_plugin_arguments(parser: argparse.ArgumentParser) -> None:
    """``--no-plugin``, ``--prefer``, ``--strict-plugins``."""
    group = parser.add_argument_group("plugins")
    group.add_argument("--no-plugin", action="append", default=[], metavar="NAME", help="do not load this plugin")
    group.add_argument(
        "--prefer", action="append", default=[], metavar="KEY=PLUGIN",
        help="whose item to take where two plugins claim one",
    )  # fmt: skip
    group.add_argument("--strict-plugins", action="store_true", help="a broken plugin is an error")


def load_plugins(options: argparse.Namespace) -> Tables:
    """The plugins that the arguments ask for."""
    from tfgraphopt import plugins

    prefer = dict(_pair(p, "--prefer KEY=PLUGIN") for p in options.prefer)
    return plugins.load(block=options.no_plugin, prefer=prefer, strict=options.strict_plugins)


def add_model_arguments(parser: argparse.ArgumentParser, *, positional: bool = True) -> None:
    """The model (unless the command declares it itself) and what of it is wanted."""
    group = parser.add_argument_group("model")
    if positional:
        group.add_argument("model", help=MODEL)
    group.add_argument(
        "--outputs", default="", metavar="A,B", help="nodes to fetch (default: the signature, or all ends)"
    )
    group.add_argument(
        "--signature", default="serving_default", metavar="NAME", help="of a SavedModel (default: %(default)s)"
    )
    group.add_argument("--tags", default="serve", metavar="A,B", help="of a SavedModel (default: %(default)s)")


def load_model(options: argparse.Namespace) -> LoadedModel:
    """The model that the arguments name."""
    from tfgraphopt.formats.load import load_model as load

    return load(Path(options.model), options.outputs, options.signature, options.tags)


def load_optimised(options: argparse.Namespace, path: str, original: LoadedModel) -> LoadedModel:
    """The optimised form of ``original`` in ``path``; its outputs are those of the original, in that order."""
    import tfgraphopt.runtime  # noqa: F401
    from tfgraphopt.formats.load import load_model as load
    from tfgraphopt.formats.open import KERAS

    if Path(path).is_dir() or Path(path).suffix in KERAS:
        return load(Path(path), "", options.signature, options.tags)
    return load(Path(path), ",".join(original.outputs))


def signature_runner(options: argparse.Namespace, path: str) -> SignatureRunner | None:
    """What runs the signature of the SavedModel in ``path``; None for other models, which run as frozen graphs."""
    from tfgraphopt.running import SignatureRunner

    return SignatureRunner.of(Path(path), options.signature, [t for t in options.tags.split(",") if t])


def add_data_arguments(parser: argparse.ArgumentParser, *, shapes: bool = True) -> None:
    """``--data``, ``--seed``, and unless the command has it already ``--shape``: what goes into the model's inputs."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", type=Path, metavar="FILE", help=".npz with an array for every input (default: random)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of random numbers (default: %(default)s)")
    if shapes:
        _add_shape_argument(group)


def _add_shape_argument(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--shape", action="append", default=[], metavar="INPUT=MIN:OPT:MAX",
        help="shapes of an input, such as x=1x224x224x3:8x224x224x3:32x224x224x3; repeat for more inputs or profiles",
    )  # fmt: skip


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """``--html``, ``--tensorboard``, ``--netron``."""
    group = parser.add_argument_group("to look at")
    group.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page that explains it all (no network needed)"
    )
    group.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="write the graphs before and after, for tensorboard --logdir DIR",
    )
    group.add_argument(
        "--netron", type=Path, metavar="DIR", help="write the same graphs as .pb files that Netron opens"
    )


def write_drawings(options: argparse.Namespace, result: Result) -> list[str]:
    """Write what ``--tensorboard`` and ``--netron`` ask for; returns lines to print."""
    lines = []
    if options.tensorboard is not None:
        runs = result.write_tensorboard(options.tensorboard)
        lines.append(f"written: runs {', '.join(runs)}; look at them by: tensorboard --logdir {options.tensorboard}")
    if options.netron is not None:
        paths = result.write_netron(options.netron)
        lines.append(f"written: {len(paths)} files for Netron in {options.netron}")
    return lines


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of :class:`tfgraphopt.Config`."""
    group = parser.add_argument_group("optimisation")
    group.add_argument("--precision", default="fp32", type=str.lower, choices=PRECISIONS, help="default: %(default)s")
    engines = f"what runs segments: {', '.join(ENGINES)} or a plugin's (default: %(default)s)"
    group.add_argument("--engine", default="tensorrt", metavar="NAME", help=engines)
    _add_shape_argument(group)
    for flag, kind, default, metavar, text in _NUMBERS:
        group.add_argument(flag, type=kind, default=default, metavar=metavar, help=f"{text} (default: %(default)s)")
    group.add_argument(
        "--deny-op", action="append", default=[], metavar="OP", help="keep this op in TensorFlow; repeatable"
    )
    group.add_argument(
        "--deny-node", action="append", default=[], metavar="PATTERN",
        help="keep the nodes of this name (or shell pattern) in TensorFlow; repeatable",
    )  # fmt: skip
    group.add_argument(
        "--calibration", type=Path, metavar="FILE", help="statistics of `tfgraphopt calibrate`, for int8"
    )
    group.add_argument("--pipeline", metavar="TEXT", help="pipeline text or name in place of the default one")
    group.add_argument("--strict", action="store_true", help="an engine that cannot be built is an error")
    group.add_argument(
        "--engine-dir", type=Path, metavar="DIR",
        help="where plans too large for the GraphDef go (default: among the user's cached files)",
    )  # fmt: skip
    group.add_argument(
        "--option", action="append", default=[], metavar=VALUES,
        help="an option of a plugin; the value is read as TOML, or else taken as text; repeatable",
    )  # fmt: skip


_NUMBERS: tuple[tuple[str, type, float, str, str], ...] = (
    ("--max-batch-size", int, 1, "N", "largest batch, for inputs without --shape"),
    ("--workspace", int, 1 << 30, "BYTES", "scratch memory an engine may use"),
    ("--min-segment-size", int, 3, "N", "segments with fewer nodes that do work stay in TensorFlow"),
    ("--build-timeout", float, 1800.0, "SECONDS", "for the build of one engine"),
    ("--build-memory", int, 0, "BYTES", "memory that the process that builds engines may take (0: no limit)"),
    ("--max-embedded-bytes", int, 1_900_000_000, "BYTES", "larger plans than fit are put beside the GraphDef"),
)


def config_of(options: argparse.Namespace) -> Config:
    """The configuration that the arguments describe."""
    return Config(
        precision=options.precision, engine=options.engine, max_batch_size=options.max_batch_size,
        max_workspace_size_bytes=options.workspace, minimum_segment_size=options.min_segment_size,
        input_shapes=shape_ranges(options.shape), denied_ops=options.deny_op, denied_nodes=options.deny_node,
        pipeline=options.pipeline, strict=options.strict, engine_dir=options.engine_dir,
        build_timeout=options.build_timeout, build_memory_bytes=options.build_memory or None,
        max_embedded_bytes=options.max_embedded_bytes,
        options=_plugin_options(options),
    )  # fmt: skip


def _plugin_options(options: argparse.Namespace) -> dict[str, Any]:
    """``PLUGIN.KEY=VALUE`` texts as a tree; ``--calibration`` is short for one of them."""
    given = [*options.option, *([f"int8.statistics={options.calibration}"] if options.calibration else [])]
    tree: dict[str, Any] = {}
    for text in given:
        name, value = _pair(text, "--option PLUGIN.KEY=VALUE")
        *path, last = name.split(".")
        place = tree
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--option {text!r}: {part!r} has a value already and can have no options")
        place[last.replace("-", "_")] = _toml_value(value)
    return tree


def _toml_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def shape_ranges(texts: Sequence[str]) -> dict[str, list[ShapeRange]]:
    """Ranges from ``INPUT=MIN:OPT:MAX`` texts; one shape alone is all three."""
    found: dict[str, list[ShapeRange]] = {}
    for text in texts:
        name, value = _pair(text, "--shape INPUT=MIN:OPT:MAX")
        try:
            points = [tuple(int(d) for d in p.split("x") if d) for p in value.split(":")]
            low, opt, high = points * 3 if len(points) == 1 else points
        except ValueError as error:
            raise ConfigError(f"--shape {text!r} is not INPUT=MIN:OPT:MAX", hint="e.g. x=1x3:8x3:32x3") from error
        found.setdefault(name, []).append(ShapeRange(low, opt, high))
    return found


def _pair(text: str, form: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"{text!r} is not of the form {form}")
    return name, value


def console() -> Console:
    """Where tables go: as wide as the terminal, and wide enough for names in a pipe."""
    terminal = Console()
    return terminal if terminal.is_terminal else Console(width=140)


def print_json(tree: Any) -> None:
    """``tree`` as JSON on stdout."""
    json.dump(tree, sys.stdout, indent=2, default=str)
    print()


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A progress callback: a live line on a terminal, silence in a pipe."""
    errors = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bar(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what} ({done + 1}/{total})" if total > 1 else what)

        yield show
