"""Every pass that any shipped plugin contributes, under its laws against TensorFlow, with no less than 200 examples.

The passes are those that the plugins' hooks give: one that is added without a law fails here, by name.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import reject
from hypothesis import strategies as st
from layout.drawing import drawings
from rewrite import recipes

import tfgraphopt.runtime  # noqa: F401  (TensorFlow learns the engine ops)
from laws import lowered
from laws.lowered import LAYERS, TABLES, change
from laws.ranges import example_ranges
from tfgraphopt import Config
from tfgraphopt.graphdef import GraphDef, export_graph_def, import_graph_def
from tfgraphopt.ir import DType, Graph, Module, Value
from tfgraphopt.ir.text import print_graph
from tfgraphopt.passes import Pass, Step
from tfgraphopt.testing.compare import Array, RunFailed, difference, run
from tfgraphopt.testing.contracts import Test, law, pass_contract, run_steps
from tfgraphopt.testing.strategies import feeds, modules
from tfgraphopt.transforms.canonicalize import Canonicalize
from tfgraphopt.transforms.cse import CommonSubexpressionElimination
from tfgraphopt.transforms.dead_code import DeadCodeElimination
from tfgraphopt.transforms.fold_constants import FoldConstants
from tfgraphopt.transforms.fuse import Fuse
from tfgraphopt.transforms.identity import RemoveIdentity
from tfgraphopt.transforms.infer_types import InferTypes
from tfgraphopt.transforms.inline_functions import InlineFunctions
from tfgraphopt.transforms.specialise_functions import SpecialiseFunctions
from tfgraphopt_int8.sources import NoteTensors
from tfgraphopt_layout.boundary import LayoutBoundary
from tfgraphopt_layout.layout import Layout
from tfgraphopt_openvino.build import BuildOpenVino
from tfgraphopt_precision.precision import Precision
from tfgraphopt_trt import engines
from tfgraphopt_trt.builder_process import BuilderProcess
from tfgraphopt_trt.canonicalize import CanonicalizeLayers
from tfgraphopt_trt.engines import BuildEngines
from tfgraphopt_trt.layers import layer_table
from tfgraphopt_trt.lower import Lower
from tfgraphopt_trt.meaning import evaluate
from tfgraphopt_trt.restore import RestoreEngines
from tfgraphopt_trt.segment import Segment
from tfgraphopt_trt.testing import LoweredBody, body_contract, check_body_change
from tfgraphopt_xla.build import BuildXla
from tfgraphopt_xla.channels_last import ChannelsLast

PASSES: Mapping[str, type[Pass]] = {p.name: p for p in TABLES.items("tfgraphopt_passes")}


# -- graphs of TensorFlow's ops ------------------------------------------------------------------------------------------

FUSIBLE = st.one_of(
    modules(ops=["MatMul", "BiasAdd", "Relu", "Maximum", "Transpose"], max_size=6),
    recipes.having(recipes.keras_batch_norm), recipes.having(recipes.bias_bias),
)  # fmt: skip


CALLING = modules(ops=["Identity", "Relu"], functions=True, min_size=2, max_size=5)
"""Mostly calls and branches, of constants too."""


@st.composite
def with_dead_nodes(draw: st.DrawFn) -> Module:
    """A module that returns some of what nothing reads."""
    module = draw(modules(functions=True, min_size=1))
    results = list(zip(module.main.outputs, module.main.output_names, strict=True))
    kept = draw(st.lists(st.sampled_from(results), min_size=1, unique=True))
    module.main.set_outputs([value for value, _ in kept], [name for _, name in kept])
    return module


def config_of(module: Module, engine: str = "none", **options: Any) -> Config:
    """Any segment is large enough; the shapes are those that the graph is known to take."""
    return Config(engine=engine, minimum_segment_size=1, input_shapes=example_ranges(module), **options)


WHOLE = modules(functions=True, max_size=5)
"""Every op that the strategies know."""


def engine_law(step: Pass, engine: str, **more: Any) -> Test:
    """The laws of a pass that builds engines, on finite numbers: engines need not hand NaN on."""
    return segmented(step, Lower(), engine=engine, graphs=SMALL, special=False, **more)


def segmented(step: Pass, *between: Step, engine: str = "none", **more: Any) -> Test:
    """The laws of a pass that works on segments; the engine nodes are exported and run by TensorFlow."""
    before: Sequence[Step] = [InferTypes(), Segment(), *between]
    return pass_contract(step, tables=TABLES, prepare=before, config=lambda m: config_of(m, engine), **more)


# -- inputs and outputs in another order of axes: what the caller asked for is the law ------------------------------------


def _turns(value: Value) -> bool:
    """Whether an order can be asked for: of a result, not of an input that is fetched, and of a known rank."""
    return value.producer is not None and value.producer.op != "Placeholder" and value.shape.rank is not None


def check_boundary(data: st.DataObject) -> None:
    """The graph computes the same of permuted feeds, with permuted results; a second run is another change."""
    drawn = data.draw(modules(max_size=4), "module")
    graph_def, names = export_graph_def(drawn), drawn.main.output_names
    made = {n: v for n, v in zip(names, drawn.main.outputs, strict=True) if _turns(v)}
    orders = {n: tuple(data.draw(st.permutations(range(len(v.shape))))) for n, v in made.items()}
    fed = data.draw(feeds(drawn), "feeds")
    turned = {n: tuple(data.draw(st.permutations(range(a.ndim)))) for n, a in fed.items()}
    config = Config(options={"layout": {"inputs": turned, "outputs": orders}})
    module, twin = (import_graph_def(graph_def, names) for _ in range(2))
    for each in (module, twin):
        run_steps(each, [InferTypes(), LayoutBoundary()], TABLES, config)
    assert print_graph(twin.main) == print_graph(module.main)
    try:
        wanted = run(graph_def, fed, names)
    except RunFailed:
        reject()
    found = run(module, {n: a.transpose(turned[n]) for n, a in fed.items()})
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        fed_order = turned.get(name.partition(":")[0], range(array.ndim))  # a fetched input is what is fed
        assert not difference(array.transpose(orders.get(name, fed_order)), found[name])
    assert {n.name for n in drawn.main} <= {n.name for n in module.main}


# -- lowered bodies ------------------------------------------------------------------------------------------------------


def lower_law() -> Test:
    """See :func:`check_lower`."""
    written: list[int] = []
    return fires(law(lambda data: written.append(check_lower(data)), st.data()), written)


def check_lower(data: st.DataObject) -> int:
    """The layers of every segment compute what TensorFlow computes; what is exported stays as it is. How many bodies there are."""
    drawn = data.draw(modules(max_size=5, functions=True), "module")
    graph_def, names = export_graph_def(drawn), drawn.main.output_names
    fed = data.draw(feeds(drawn), "feeds")
    module, twin = (import_graph_def(graph_def, names) for _ in range(2))
    contexts = [run_steps(m, [InferTypes(), Segment()], TABLES, config_of(m)) for m in (module, twin)]
    before = export_graph_def(module).SerializeToString(deterministic=True)
    for each in contexts:
        for _ in range(2):
            Lower().run(each.module.main, each)
    assert export_graph_def(module).SerializeToString(deterministic=True) == before
    texts = [{n: print_graph(b) for n, b in m.lowered.items()} for m in (module, twin)]
    assert texts[0] == texts[1]
    known = {n.name for g in drawn.graphs() for n in g}
    for name, body in module.lowered.items():
        assert all(n.origin and set(n.origin) <= known for n in body)
        call = module.main.find(name)
        if call is None:
            continue  # in a function
        original = module.functions[call.attrs["segment_func"].name]  # type: ignore[union-attr]
        check_meaning(body, graph_def, fed, call.inputs, original.outputs)
    return len(module.lowered)


def check_meaning(
    body: Graph, graph_def: GraphDef, fed: Mapping[str, Array], operands: Sequence[Value], results: Sequence[Value]
) -> None:
    """``body`` computes what TensorFlow computes for ``results`` from what it computes for ``operands``."""
    fetches = [f"{v.producer.name}:{v.index}" for v in (*operands, *results) if v.producer is not None]
    try:
        computed = run(graph_def, fed, list(dict.fromkeys(fetches)))
    except RunFailed:
        reject()
    found = evaluate(body, LAYERS, [computed[f] for f in fetches[: len(operands)]])
    for fetch, have in zip(fetches[len(operands) :], found, strict=True):
        want = computed[fetch]
        coarse = 4e-3 if want.dtype == np.float16 else 1e-5
        assert not difference(want, have, rtol=coarse, atol=coarse)


def int8_law() -> Test:
    """Quantised with the ranges of the feeds themselves, a result is off by some of 127 steps of some of the layers."""
    placed: list[int] = []

    def check(body: LoweredBody) -> None:
        check_body_change(*body, lowered.quantise(body), tolerance=0.2)
        placed.append(sum(n.op == "trt.quantize" for n in body[0]))

    return fires(law(check, drawings()), placed)


def fires(checked: Test, counts: Sequence[int]) -> Test:
    """``checked``, and that one of its examples counts."""

    def test() -> None:
        checked()
        assert any(counts), "it did nothing to any of the examples"

    return test


# -- engines -------------------------------------------------------------------------------------------------------------

SMALL = modules(
    ops=["AddV2", "Mul", "Relu", "Tanh", "MatMul", "Mean", "ConcatV2"], max_size=2, element_types=(DType.FLOAT,),
    unknown_dims=False, control_edges=False,
)  # fmt: skip


@contextlib.contextmanager
def one_builder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All optimisations share a worker process, which takes a second to start."""
    with BuilderProcess() as process:
        monkeypatch.setattr(engines, "BuilderProcess", lambda: contextlib.nullcontext(process))
        yield


# -- the book ------------------------------------------------------------------------------------------------------------

LAWS: Mapping[str, Callable[[], Test]] = {
    "canonicalize": lambda: pass_contract(Canonicalize),
    "cse": lambda: pass_contract(CommonSubexpressionElimination),
    "dce": lambda: pass_contract(DeadCodeElimination, graphs=with_dead_nodes()),
    "remove-identity": lambda: pass_contract(RemoveIdentity),
    "infer-types": lambda: pass_contract(InferTypes, must_change=False),  # drawn graphs know their types
    "inline-functions": lambda: pass_contract(InlineFunctions),
    "specialise-functions": lambda: pass_contract(SpecialiseFunctions, graphs=CALLING),
    "fold-constants": lambda: pass_contract(FoldConstants),
    "fuse": lambda: pass_contract(Fuse, rtol=1e-2, atol=1e-2, graphs=FUSIBLE),
    "int8-note-tensors": lambda: pass_contract(
        NoteTensors,
        config=Config(precision="int8"),
        tables=TABLES,
        must_change=False,  # it takes notes
    ),
    "layout-boundary": lambda: law(check_boundary, st.data()),
    "segment": lambda: pass_contract(Segment, tables=TABLES, prepare=[InferTypes()], config=config_of, graphs=WHOLE),
    "restore-engines": lambda: segmented(RestoreEngines(), graphs=WHOLE),
    "lower": lower_law,
    "layout": lambda: body_contract(change(Layout()), drawings(), tolerance=3e-5),
    "trt-canonicalize": lambda: body_contract(change(CanonicalizeLayers()), drawings(), tolerance=2e-4),
    "precision": lambda: body_contract(
        change(Precision(), Config(engine="none", precision="fp16")), drawings(), tolerance=0.05
    ),
    "int8": int8_law,
    "channels-last": lambda: body_contract(
        change(ChannelsLast(), Config(engine="xla")),
        drawings(table=layer_table(LAYERS.values())),
        layers=LAYERS,
        tolerance=2e-4,
    ),
    "build-xla": lambda: engine_law(BuildXla(), "xla", rtol=1e-4, atol=1e-4),
    "build-openvino": lambda: engine_law(BuildOpenVino(), "openvino", rtol=1e-4, atol=1e-4),
    "build-engines": lambda: engine_law(BuildEngines(), "tensorrt"),
}
"""By pass; each entry makes a test of 200 examples."""


@pytest.mark.parametrize("name", sorted(PASSES))
def test_pass_keeps_its_laws(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert name in LAWS, f"pass {name!r} has no law"
    with one_builder(monkeypatch) if name == "build-engines" else contextlib.nullcontext():
        LAWS[name]()()


def test_no_law_is_left_of_a_pass_that_is_gone() -> None:
    assert LAWS.keys() <= PASSES.keys()
