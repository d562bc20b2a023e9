"""What every format gives the optimiser, and what it takes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import attrs

from tfgraphopt.graphdef import GraphDef
from tfgraphopt.ir import Module, OpTable
from tfgraphopt.runtimes import PlanAttributes
from tfgraphopt.sessions import State

EXAMPLE = 8


@attrs.frozen(slots=True)
class Endpoint:
    """One callable of a model as a graph of its own.

    Attributes:
        name: a signature's name, or the path of a function from the model's root.
        module: its graph; variables that it only reads are constants. It may be optimised in place.
        inputs: the nodes to feed, by their structured names.
        outputs: the tensors to fetch, by their structured names.
        notes: what its users should know.
        original: the graph that it was read from, where it is given back as it was if no part of it can be converted.
        state: what runs need of the model beside the graph; None when it has all.
    """

    name: str
    module: Module = attrs.field(repr=False)
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    notes: Sequence[str] = ()
    original: GraphDef | None = attrs.field(default=None, repr=False)
    state: State | None = attrs.field(default=None, repr=False)


@attrs.frozen(slots=True)
class Writing:
    """How a model is written.

    Attributes:
        plans: how engine nodes keep their plans, for every runtime.
        max_embedded_bytes: from which size on weights of TensorFlow bodies are read from variables instead of being in the graph.
    """

    plans: Sequence[PlanAttributes]
    max_embedded_bytes: int


class Model(Protocol):
    """A model in some format."""

    def endpoints(self, ops: OpTable, wanted: Sequence[str] | None) -> Sequence[Endpoint]:
        """Its callables: those named, or every signature.

        Raises:
            GraphDefError: there is none of that name, or its graph cannot be read.
        """

    def write(self, directory: Path, optimised: Mapping[str, Endpoint], how: Writing) -> None:
        """Write it as a SavedModel into the empty ``directory``, with the optimised endpoints in place of its own.

        Endpoints that are not among them are written as they were.
        """


def shown(names: Sequence[str]) -> str:
    """Some names for a message."""
    rest = f" and {len(names) - EXAMPLE} more" if len(names) > EXAMPLE else ""
    return ", ".join(names[:EXAMPLE]) + rest or "none"
