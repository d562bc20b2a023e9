"""Arrays for a model's inputs: from a file, or random."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from tfgraphopt.errors import ConfigError
from tfgraphopt.ir import DType, Node, Shape
from tfgraphopt.sessions import is_bound

if TYPE_CHECKING:
    from tfgraphopt.config import ShapeRange
    from tfgraphopt.formats.load import LoadedModel

Array = NDArray[Any]
HANDLES = frozenset({DType.RESOURCE, DType.VARIANT})
"""Inputs that no data goes into."""


def read_feeds(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file by name; ConfigError when it holds none."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, AttributeError, EOFError, BadZipFile) as error:
        hint = "write it with numpy.savez(path, input=array)"
        raise ConfigError(f"{path} holds no arrays", why=str(error), hint=hint) from error


def random_feeds(
    model: LoadedModel, ranges: Mapping[str, ShapeRange | list[ShapeRange]], seed: int
) -> dict[str, Array]:
    """An array for every input: standard normal numbers for floating-point ones, zeros and ones for others (as text for strings).

    Shapes are the ``opt`` of the first of an input's ranges; without a range, 2 for an unknown leading dimension.
    """
    from tfgraphopt.graphdef import import_graph_def

    rng = np.random.default_rng(seed)
    nodes = import_graph_def(model.graph_def, list(model.outputs)).main
    inputs = [n for n in nodes if n.op == "Placeholder" and n.outputs[0].dtype not in HANDLES]
    feeds = {}
    for node in inputs:
        value = node.outputs[0]
        dims = _opt(ranges[node.name]) if node.name in ranges else _dims(node)
        numbers = rng.normal(size=dims) if value.dtype.is_floating else rng.integers(0, 2, size=dims)
        feeds[node.name] = numbers.astype("S") if value.dtype == DType.STRING else np.asarray(numbers, value.dtype.np)
    return feeds


def read_named(path: Path, model: LoadedModel) -> dict[str, Array]:
    """The arrays of an ``.npz`` file for a frozen graph; ConfigError when it has one that is for no node of the graph."""
    feeds = read_feeds(path)
    unknown = sorted(feeds.keys() - {node.name for node in model.graph_def.node})
    if unknown:
        why = "; ".join(f"there is no input {name!r}" for name in unknown)
        raise ConfigError("the data does not fit the model", why=why, hint=f"the inputs are {', '.join(model.inputs)}")
    return feeds


def check_runnable(model: LoadedModel) -> None:
    """ConfigError where a graph has inputs that no data goes into: nobody knows the tables or variables that they stand for."""
    from tfgraphopt.graphdef import import_graph_def

    nodes = import_graph_def(model.graph_def, list(model.outputs)).main
    handles = [n.name for n in nodes if n.op == "Placeholder" and n.outputs[0].dtype in HANDLES]
    left = [name for name in handles if not is_bound(name, model.state)]
    if left:
        raise ConfigError(
            "the graph cannot be run by itself", where=left, why="it takes tables, or variables that it writes, which are not in it",
            hint="verify and bench of two SavedModels run with them; else take a signature that needs none (--signature)",
        )  # fmt: skip


def _opt(given: ShapeRange | list[ShapeRange]) -> tuple[int, ...]:
    return given[0].opt if isinstance(given, list) else given.opt


def _dims(node: Node) -> tuple[int, ...]:
    shape = node.attrs.get("shape")
    dims = shape.dims if isinstance(shape, Shape) else None
    if dims is None or None in dims[1:]:
        raise ConfigError(f"input {node.name!r} has unknown dimensions", hint=f"say which by --shape {node.name}=...")
    return tuple(2 if d is None else d for d in dims)
