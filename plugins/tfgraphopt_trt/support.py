"""Which nodes can go into an engine: rules, then the converter itself is run, so that support and conversion cannot drift."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import MissingDependency
from tfgraphopt.ir import Graph, Node, OpTable
from tfgraphopt.passes import Context
from tfgraphopt.plugins import Tables
from tfgraphopt.report import Verdict
from tfgraphopt.transforms.dead_code import FED
from tfgraphopt.transforms.identity import FORWARDING
from tfgraphopt_trt.builder import Unsupported
from tfgraphopt_trt.converter import Converter, Fragment, convert
from tfgraphopt_trt.engine_kinds import NO_ENGINE, TENSORFLOW, chosen_kind
from tfgraphopt_trt.functions import FunctionWriter, called_function, functions_of, is_pure, is_pure_node
from tfgraphopt_trt.hookspecs import LayerRule, SegmentRule

CONVERTERS_HOOK = "tfgraphopt_trt_converters"
LAYERS_HOOK = "tfgraphopt_trt_layers"
RULES_HOOK = "tfgraphopt_trt_segment_rules"
LAYER_RULES_HOOK = "tfgraphopt_trt_layer_rules"
_BRANCHES = frozenset({"Switch", "RefSwitch", "_SwitchN"})
_JOINS = frozenset({"Merge", "RefMerge"})


@attrs.define(slots=True)
class Support:
    """Judges the nodes of one graph."""

    config: Config
    converters: Mapping[str, Converter]
    layers: OpTable
    rules: Sequence[SegmentRule]
    layer_rules: Sequence[LayerRule]
    tables: Tables

    @classmethod
    def of(cls, ctx: Context) -> Support:
        """The judge that the plugins of ``ctx`` make."""
        tables = ctx.tables
        config = ctx.config if ctx.config.engine == "none" else attrs.evolve(ctx.config, engine=chosen_kind(ctx).name)
        layers = OpTable([layer.op_def() for layer in tables.items(LAYERS_HOOK)])
        rules, layer_rules = tables.items(RULES_HOOK), tables.items(LAYER_RULES_HOOK)
        return cls(config, tables.table(CONVERTERS_HOOK), layers, rules, layer_rules, tables)

    def judge(self, graph: Graph) -> dict[Node, Verdict]:
        """A verdict for every node; ``converted`` means that it can be."""
        conditional = _conditional(graph)
        verdicts = {}
        for node in graph:
            status, reason = self._judge(node, node in conditional)
            owner = self.tables.owner(CONVERTERS_HOOK, node.op) if node.op in self.converters else ""
            verdicts[node] = Verdict(
                node.name, node.op, status, reason, converter=owner, graph=graph.name, origin=node.origin
            )  # fmt: skip
        return verdicts

    def _judge(self, node: Node, conditional: bool) -> tuple[str, str]:
        if node.op in FED:
            return "not a candidate", "a graph input"
        if node.op == "Const" and not node.control:
            return "converted", ""
        if node.graph.keeps(node) and (node.op in FORWARDING or not node.outputs or node in node.graph.keep.values()):
            return "not a candidate", "a graph output"
        if conditional:
            return "vetoed", "it is inside a TF1 conditional (Switch/Merge); an engine would run both branches"
        for rule in self.rules:
            reason = rule.check(node, self.config)
            if reason:
                return "vetoed", reason
        return self._try(node)

    def _try(self, node: Node) -> tuple[str, str]:
        if node.op not in self.converters and called_function(node) is None:
            return "no converter", f"no plugin converts {node.op}"
        try:
            fragment = self.fragment(node)
            reason = self._against_layers(fragment.graph)
        except Unsupported as error:
            return "refused", str(error)
        except MissingDependency:  # what a rule needs to judge at all
            raise
        except Exception as error:  # a broken third-party converter costs its nodes, not the optimisation
            if self.config.strict:
                raise
            return "refused", f"its converter failed: {type(error).__name__}: {error}"
        return ("refused", reason) if reason else ("converted", "")

    def refusal(self, node: Node) -> str:
        """Why ``node`` cannot become layers; empty when it can."""
        status, reason = self._try(node)
        return reason if status != "converted" else ""

    def fragment(self, node: Node) -> Fragment:
        """The layers of ``node``; Unsupported with the reason when there are none."""
        converter = self.converters.get(node.op)
        body = called_function(node)
        functions = FunctionWriter(self.converters, self.layers, node.graph.functions)
        if converter is None and body is not None:
            return functions.convert_call(node, body)
        if converter is None:
            raise Unsupported(f"no plugin converts {node.op}")
        return convert(converter, node, self.layers, functions)

    def _against_layers(self, fragment: Graph) -> str | None:
        """What the layer rules have against the layers that a node becomes."""
        found = (rule.check(layer, self.config, self.tables) for layer in fragment for rule in self.layer_rules)
        return next((reason for reason in found if reason), None)


def _conditional(graph: Graph) -> set[Node]:
    """Nodes that may be dead at run time: those behind a Switch and not yet behind a Merge."""
    found: set[Node] = set()
    for node in graph:
        if node.op in _JOINS:
            continue
        sources = [*(v.producer for v in node.inputs), *node.control]
        if node.op in _BRANCHES or any(s in found for s in sources if s is not None):
            found.add(node)
    return found


def _denied(node: Node, config: Config) -> str | None:
    if node.op in config.denied_ops:
        return f"op {node.op} is denied by the caller"
    pattern = next((p for p in config.denied_nodes if fnmatch.fnmatchcase(node.name, p)), None)
    return None if pattern is None else f"the caller denied {pattern!r}"


def _on_cpu(node: Node, config: Config) -> str | None:
    placed = config.engine in ("tensorrt", "none") and "CPU" in node.device.upper()
    return f"the model places it on {node.device}" if placed else None


def _stateful(node: Node, config: Config) -> str | None:
    if node.definition is None or is_pure_node(node):
        return None
    guilty = [f.name for f in functions_of(node) if f is not None and not is_pure(f)]
    return f"function {guilty[0]!r} has side effects or state" if guilty else "it has side effects or state"


def _nothing_runs(node: Node, config: Config) -> str | None:
    return NO_ENGINE if config.engine == TENSORFLOW.name else None


RULES = (
    SegmentRule("no-engine", _nothing_runs),
    SegmentRule("denied", _denied),
    SegmentRule("placed-on-cpu", _on_cpu),
    SegmentRule("stateful", _stateful),
)
