"""One-line contracts: each takes what a plugin author wrote and returns a test function for pytest to collect.

    test_my_pass = pass_contract(MyPass)
    test_my_rule = pattern_contract(MyRule())
    test_my_plugin = plugin_contract("acme", acme_tf)

The oracle is always TensorFlow: the graph is exported before and after and both are run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from tfgraphopt import builtin
from tfgraphopt.config import Config
from tfgraphopt.graphdef import GraphDef, export_graph_def, import_graph_def
from tfgraphopt.hookspecs import PROJECT
from tfgraphopt.ir import Graph, Module, Node, OpTable
from tfgraphopt.optimization import op_table
from tfgraphopt.passes import Context, Pass, PassManager, Step
from tfgraphopt.plugins import Tables, load
from tfgraphopt.report import Report
from tfgraphopt.rewrite import Pattern, RewriteLog, apply_patterns
from tfgraphopt.runtimes import GROUP
from tfgraphopt.testing.compare import RunFailed, assert_same, run
from tfgraphopt.testing.op_makers import MAKERS
from tfgraphopt.testing.strategies import feeds, modules

Test = Callable[[], None]
EXAMPLES = int(os.environ.get("TFGRAPHOPT_EXAMPLES", "200"))
"""Examples a law; the environment variable ``TFGRAPHOPT_EXAMPLES`` lowers or raises it for a whole run."""


def law(test: Callable[[Any], None], strategy: st.SearchStrategy[Any], examples: int = EXAMPLES) -> Test:
    """A test function that checks ``test`` on ``examples`` draws, without time limits per example."""
    every = [
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
        HealthCheck.large_base_example,
    ]
    limits = settings(max_examples=examples, deadline=None, suppress_health_check=every, print_blob=True)
    checked: Test = limits(given(strategy)(test))
    return checked


def default_tables() -> Tables:
    """What the framework itself contributes, without any installed plugin."""
    return load(only=(), extra=[("builtin", builtin)], strict=True)


def run_steps(
    module: Module, steps: Sequence[Step], tables: Tables | None = None, config: Config | None = None
) -> Context:
    """Run passes on a module without instruments, and give the context back."""
    return _run_in(Context(module, config or Config(), tables or default_tables(), Report()), steps)


def _run_in(context: Context, steps: Sequence[Step]) -> Context:
    PassManager(tuple(steps)).run(context)
    return context


# -- passes and patterns -------------------------------------------------------------------------------------------------


def pass_contract(
    step: type[Pass] | Pass,
    *,
    graphs: st.SearchStrategy[Module] | None = None,
    prepare: Sequence[Step] = (),
    tables: Tables | None = None,
    config: Config | Callable[[Module], Config] | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    examples: int = EXAMPLES,
    must_change: bool = True,
    special: bool = True,
) -> Test:
    """A test of the laws of a pass.

    Laws: the graph stays valid; same fetches, element types and numbers (within the tolerances; bit by bit by default); a second
    run changes nothing; two runs on equal graphs give equal graphs; every node has an origin among the caller's nodes; and the
    pass changes some example at all, unless ``must_change`` is false: where it does not, give it ``graphs`` that it is made for.
    ``prepare`` are passes to run first, in the same optimisation (of configuration ``config``, or what that makes of a module); the
    types of all values are known without any. Without ``special``, no feed holds NaN or an infinity.
    """
    instance = step() if isinstance(step, type) else step
    known = tables or default_tables()
    source = graphs if graphs is not None else modules(functions=True)
    changed: set[str] = set()

    def check(data: st.DataObject) -> None:
        contexts: dict[int, Context] = {}

        def run_on(module: Module, steps: Sequence[Step]) -> None:
            if id(module) not in contexts:
                chosen = config(module) if callable(config) else config or Config()
                contexts[id(module)] = Context(module, chosen, known, Report())
            _run_in(contexts[id(module)], steps)

        def change(module: Module) -> None:
            version = module.version
            run_on(module, [instance])
            if module.version != version:
                changed.add(instance.name)

        check_change(data, source, change, lambda m: run_on(m, prepare), rtol, atol, op_table(known), special)

    checked = law(check, st.data(), examples)

    def test() -> None:
        checked()
        assert changed or not must_change, f"{instance.name} changed none of the examples"

    return test


def pattern_contract(
    pattern: Pattern | type[Pattern],
    *,
    graphs: st.SearchStrategy[Module] | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    examples: int = EXAMPLES,
    must_fire: bool = True,
) -> Test:
    """A test of the laws of a rule: those of :func:`pass_contract`, and that it fires on some example at all.

    ``graphs`` should be modules in which the rule has a chance; by default they are made of the ops that it names.
    """
    rule = pattern() if isinstance(pattern, type) else pattern
    log = RewriteLog()

    def change(module: Module) -> None:
        for graph in module.graphs("tf"):
            apply_patterns(graph, [rule], log=log)

    source = graphs if graphs is not None else modules(ops=_ops_of(rule), min_size=1, max_size=5)
    checked = law(lambda data: check_change(data, source, change, rtol=rtol, atol=atol), st.data(), examples)

    def test() -> None:
        checked()
        assert log.applied or not must_fire, (
            f"{rule.name} fired on none of the examples; refusals: {list(log.refused.values())[:5]}"
        )

    return test


def _ops_of(rule: Pattern) -> list[str]:
    """The ops in a rule's pattern that strategies can make."""
    from tfgraphopt.matching import AnyOf, NodePattern, Result, Term

    found: dict[str, None] = {}
    stack: list[Term] = [root for root, _ in rule.compiled().roots]
    while stack:
        term = stack.pop()
        if isinstance(term, NodePattern):
            found.update(dict.fromkeys(term.ops))
            stack += term.operands
        elif isinstance(term, Result):
            stack.append(term.node)
        elif isinstance(term, AnyOf):
            stack += term.terms
    return [op for op in found if op in MAKERS]


def check_change(
    data: st.DataObject, source: st.SearchStrategy[Module], change: Callable[[Module], None],
    prepare: Callable[[Module], None] = lambda module: None, rtol: float = 0.0, atol: float = 0.0,
    ops: OpTable | None = None, special: bool = True,
) -> None:  # fmt: skip
    """Draw a module and check every law of a change to it."""
    drawn = data.draw(source, "module")
    graph_def = export_graph_def(drawn)
    fetches = drawn.main.output_names
    fed = data.draw(feeds(drawn, special=special), "feeds")
    module, twin = (import_graph_def(graph_def, fetches, ops=ops) for _ in range(2))
    for each in (module, twin):
        _announce(each, drawn)
        prepare(each)
        change(each)
    check_valid(module)
    _check_interface(module, drawn)
    if _bytes(module) != graph_def.SerializeToString(deterministic=True):  # the same graph computes the same
        _check_numbers(graph_def, module, fed, rtol, atol)
    _check_origins(module, {n.name for g in drawn.graphs() for n in g})
    version = module.version
    change(module)
    assert module.version == version, "a second run changes the graph"
    assert _bytes(twin) == _bytes(module), "two runs on equal graphs give different graphs"


def _check_numbers(graph_def: GraphDef, module: Module, fed: Mapping[str, Any], rtol: float, atol: float) -> None:
    """``module`` computes what the graph computes, which is drawn again where TensorFlow refuses to run it."""
    fetches = module.main.output_names
    try:
        before = run(graph_def, fed, fetches)
    except RunFailed:
        reject()
    _assert_close(before, run(module, fed, fetches), rtol, atol)


def _announce(module: Module, drawn: Module) -> None:
    """Give the values of an imported module the types that are known of the drawn one."""
    for graph, original in zip(module.graphs(), drawn.graphs(), strict=True):
        for node in graph:
            for value, known in zip(node.outputs, original.node(node.name).outputs, strict=True):
                value.set_type(known.type)


def check_valid(module: Module) -> None:
    """Raise InvalidGraph when the module breaks a rule of the IR."""
    from tfgraphopt.ir.verify import verify

    verify(module)


def _check_interface(module: Module, drawn: Module) -> None:
    names = module.main.output_names
    assert names == drawn.main.output_names, f"the fetches were {drawn.main.output_names} and are {names}"
    for name, new, old in zip(drawn.main.output_names, module.main.outputs, drawn.main.outputs, strict=True):
        assert new.dtype is old.dtype, f"{name} was {old.type} and is {new.type}"
        assert new.shape.compatible(old.shape), f"{name} was {old.type} and is {new.type}"


def _check_origins(module: Module, names: set[str]) -> None:
    for graph in module.graphs("tf"):
        for node in graph:
            assert node.origin, f"{node!r} has no origin"
            assert set(node.origin) <= names, f"{node!r} comes from {node.origin}, which are no nodes of the caller's"


def _bytes(module: Module) -> bytes:
    data: bytes = export_graph_def(module).SerializeToString(deterministic=True)
    return data


# -- plugins -------------------------------------------------------------------------------------------------------------


def plugin_contract(name: str, plugin: ModuleType | object) -> Test:
    """A test of a plugin: it loads alone and beside the built-in one, nothing clashes, and every item is documented.

    Where it is installed under ``name``, the entry-point group ``tfgraphopt.runtimes`` names the engine runtime that it contributes.
    """

    def test() -> None:
        alone = load(only=(), extra=[(name, plugin)], strict=True)
        assert [info.name for info in alone.plugins] == [name]
        load(only=(), extra=[("builtin", builtin), (name, plugin)], strict=True)
        for hook, contributions in alone.contributions.items():
            for contribution in contributions:
                assert _documented(contribution.item), f"{contribution.item!r} ({hook}) has no documentation"
        if entry_points(group=PROJECT, name=name):
            named = tuple(point.load() for point in entry_points(group=GROUP, name=name))
            assert alone.items("tfgraphopt_runtimes") == named, (
                f"the entry points {GROUP} and the hook tfgraphopt_runtimes differ"
            )

    return test


def _documented(item: Any) -> bool:
    if isinstance(item, tuple):  # a named pipeline is its own documentation
        return True
    return bool(getattr(item, "doc", "") or item.__doc__)


# -- rooms of other plugins: the contracts take what they need as arguments ----------------------------------------------


def converter_contract(
    op: str,
    *,
    convert: Callable[[Node], Any],
    refusal: type[Exception],
    evaluate: Callable[[Any, dict[str, Any]], Sequence[Any]],
    graphs: st.SearchStrategy[Module] | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    examples: int = EXAMPLES,
) -> Test:
    """A test of a converter of ``op``: what it accepts computes what TensorFlow computes, and a refusal has a reason.

    Results that nothing reads are not compared; float16 is compared to 4e-3.

    Args:
        convert: the converted form of a node; raises ``refusal``, whose text is the reason, and must not touch the graph.
        evaluate: the results of a converted form, given the values of the source graph's tensors by name.
    """
    from tfgraphopt.testing.strategies import from_op

    def check(data: st.DataObject) -> None:
        module = data.draw(graphs if graphs is not None else from_op(op), "module")
        node = next(n for n in module.main if n.op == op)
        version = module.version
        try:
            converted = convert(node)
        except refusal as error:
            _check_reason(op, str(error))
            return
        assert module.version == version, "the converter changed the graph"
        values, expected = _tensors(module.main, data.draw(feeds(module), "feeds"), node)
        results = {v.name: r for v, r in zip(node.outputs, evaluate(converted, values), strict=True)}
        _assert_close(expected, {name: results[name] for name in expected}, rtol, atol)

    return law(check, st.data(), examples)


def _assert_close(before: Mapping[str, Any], after: Mapping[str, Any], rtol: float, atol: float) -> None:
    """The same numbers; where any tolerance is given, float16 gets at least that of its own rounding."""
    assert list(before) == list(after), f"the results were {list(before)} and are {list(after)}"
    for name, array in before.items():
        coarse = 4e-3 if array.dtype == "float16" and (rtol or atol) else 0.0
        assert_same({name: array}, {name: after[name]}, rtol=max(rtol, coarse), atol=max(atol, coarse))


def _check_reason(op: str, reason: str) -> None:
    assert reason, f"{op} was refused without a reason"


def _tensors(graph: Graph, fed: dict[str, Any], node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of the operands and of the results of ``node``, by name."""
    module = Module(graph, graph.ops)
    names = {v.name: f"{v.producer.name}:{v.index}" for v in [*node.inputs, *node.outputs] if v.producer is not None}
    try:
        values = run(module, fed, list(names.values()))
    except RunFailed:
        reject()
    by_name = {name: values[fetch] for name, fetch in names.items()}
    return by_name, {v.name: by_name[v.name] for v in node.outputs if v.uses or v.is_output}


def layer_contract(
    infer: Callable[[Any], Sequence[Any]], compute: Callable[[Any], Sequence[Any]], cases: st.SearchStrategy[Any],
    examples: int = EXAMPLES,
) -> Test:  # fmt: skip
    """A test of a layer: the types that ``infer(case)`` announces are those of the arrays that ``compute(case)`` gives."""
    from tfgraphopt.ir import DType, Shape

    def check(case: Any) -> None:
        types, arrays = infer(case), compute(case)
        assert len(types) == len(arrays)
        for type_, array in zip(types, arrays, strict=True):
            assert type_.dtype is DType.of_numpy(array.dtype), f"{type_} is announced, {array.dtype} computed"
            assert type_.shape.compatible(Shape(array.shape)), f"{type_} is announced, {array.shape} computed"

    return law(check, cases, examples)


def layout_rule_contract(
    compute: Callable[[Any], Any], push: Callable[[tuple[int, ...]], tuple[Callable[[Any], Any], tuple[int, ...]] | None],
    arrays: st.SearchStrategy[Any], examples: int = EXAMPLES,
) -> Test:  # fmt: skip
    """A test of a layout rule: permuting the operand and computing is computing and permuting the result, for every permutation.

    ``push(perm)`` gives the computation on permuted operands and the permutation that its result has, or None where the rule does
    not apply.
    """
    import numpy as np

    def check(data: st.DataObject) -> None:
        array = data.draw(arrays, "operand")
        perm = tuple(data.draw(st.permutations(range(array.ndim)), "permutation"))
        pushed = push(perm)
        if pushed is not None:
            permuted, result = pushed
            expected = np.transpose(compute(array), result)
            assert_same({"result": expected}, {"result": permuted(np.transpose(array, perm))}, rtol=1e-6, atol=1e-6)

    return law(check, st.data(), examples)


def calibrator_contract(
    new: Callable[[], Any], arrays: st.SearchStrategy[Any], *, observe: Callable[[Any, Any], Any],
    merge: Callable[[Any, Any], Any], scale: Callable[[Any], float], to_json: Callable[[Any], Any],
    from_json: Callable[[Any], Any], rtol: float = 1e-6, examples: int = EXAMPLES,
) -> Test:  # fmt: skip
    """A test of a calibrator: merging is associative and does not depend on the order, scales are positive, JSON keeps all.

    ``new`` makes empty statistics; the other functions work on them and return new or changed ones.
    """
    import pytest

    def check(parts: list[Any]) -> None:
        a, b, c = (observe(new(), part) for part in parts)
        one = scale(merge(merge(a, b), c))
        assert one > 0, f"the scale is {one}"
        same = pytest.approx(one, rel=rtol)
        assert scale(merge(a, merge(b, c))) == same, "merging is not associative"
        assert scale(merge(merge(c, b), a)) == same, "merging depends on the order"
        assert scale(from_json(to_json(merge(merge(a, b), c)))) == same, "JSON does not keep everything"

    return law(check, st.lists(arrays, min_size=3, max_size=3), examples)
