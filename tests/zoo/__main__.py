"""`python -m zoo list`, `python -m zoo freeze NAME -o out.pb`, `python -m zoo inspect NAME`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from zoo import keras_models, pretrained
from zoo.cache import entry
from zoo.frozen import FrozenModel


def build(name: str, seed: int) -> FrozenModel:
    """A model of either kind by name."""
    return pretrained.build(name) if name in pretrained.NAMES else keras_models.build(name, seed)


def _list(arguments: argparse.Namespace) -> str:
    names = (*pretrained.NAMES, *keras_models.NAMES)
    return "\n".join(f"{name:20} {'cached' if entry(name, arguments.seed).is_dir() else ''}".rstrip() for name in names)


def _freeze(arguments: argparse.Namespace) -> str:
    model = build(arguments.name, arguments.seed)
    scratch = arguments.output.with_name(f".{arguments.output.name}.{os.getpid()}")
    scratch.write_bytes(model.graph_def.SerializeToString(deterministic=True))
    scratch.replace(arguments.output)
    return f"{arguments.output}: {len(model.graph_def.node)} nodes, outputs {','.join(model.outputs)}"


def _inspect(arguments: argparse.Namespace) -> str:
    from zoo import inspection

    return inspection.text(build(arguments.name, arguments.seed))


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], str]] = MappingProxyType(
    {
        "list": _list,
        "freeze": _freeze,
        "inspect": _inspect,
    }
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zoo", description="Frozen models for tests, demo and benchmarks.")
    commands = parser.add_subparsers(dest="command", required=True)
    parsers = {name: commands.add_parser(name) for name in _COMMANDS}
    for command in parsers.values():
        command.add_argument("--seed", type=int, default=0, help="of the random weights of keras.applications")
    for name in ("freeze", "inspect"):
        parsers[name].add_argument("name", choices=(*pretrained.NAMES, *keras_models.NAMES), metavar="NAME")
    parsers["freeze"].add_argument("-o", "--output", type=Path, required=True, help="file to write the GraphDef to")
    return parser


def main(words: list[str]) -> None:
    """Runs one command and prints its answer."""
    arguments = _parser().parse_args(words)
    sys.stdout.write(_COMMANDS[arguments.command](arguments) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
