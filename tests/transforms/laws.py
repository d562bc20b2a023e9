"""What every transform promises, checked against TensorFlow."""

from __future__ import annotations

import numpy as np
from framework.sample_passes import context, run
from ir.tf_graphs import GraphDef, Made
from ir.tf_graphs import run as run_in_tensorflow

from tfgraphopt.graphdef import export_graph_def, import_graph_def
from tfgraphopt.instruments import Verify
from tfgraphopt.ir import Module
from tfgraphopt.ir.text import print_module
from tfgraphopt.passes import Step
from tfgraphopt.transforms.infer_types import InferTypes


def transformed(made: Made, *steps: Step, typed: bool = True) -> Module:
    """The module of a TensorFlow graph after these passes (types inferred first), verified after each."""
    graph_def, _, fetches = made
    module = import_graph_def(graph_def, fetches, copy=True)
    before = [InferTypes()] if typed else []
    return run([*before, *steps], context(module), Verify()).module


def check_laws(made: Made, *steps: Step) -> Module:
    """Same fetches, types and bits as TensorFlow computes for the original; idempotent; deterministic; origins kept."""
    graph_def = made[0]
    module = transformed(made, *steps)
    assert print_module(transformed(made, *steps)) == print_module(module)
    _same_bits(export_graph_def(module), made)
    _same_bits(export_graph_def(module, verbatim=False), made)
    known = {n.name for n in graph_def.node} | {n.name for f in graph_def.library.function for n in f.node_def}
    for graph in module.graphs():
        for node in graph:
            assert node.origin
            assert set(node.origin) <= known
    version, text = module.version, print_module(module)
    run([*steps], context(module), Verify())
    assert print_module(module) == text
    assert module.version == version
    return module


def _same_bits(graph_def: GraphDef, made: Made) -> None:
    original, feeds, fetches = made
    theirs = run_in_tensorflow(original, feeds, fetches)
    for ours, expected in zip(run_in_tensorflow(graph_def, feeds, fetches), theirs, strict=True):
        assert (ours.dtype, ours.shape) == (expected.dtype, expected.shape)
        if ours.dtype == object:
            assert ours.tolist() == expected.tolist()
        else:
            assert ours.tobytes() == expected.tobytes() or np.array_equal(ours, expected, equal_nan=True)


def ops(module: Module) -> dict[str, int]:
    """How many nodes of each op the main graph has."""
    found: dict[str, int] = {}
    for node in module.main:
        found[node.op] = found.get(node.op, 0) + 1
    return found
