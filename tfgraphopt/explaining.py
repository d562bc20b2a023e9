"""Why a rewrite rule fires, or does not, at the nodes of one model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.graphdef import GraphDef, import_graph_def
from tfgraphopt.instruments import Verify
from tfgraphopt.optimization import op_table, pipeline_of
from tfgraphopt.passes import Context, Pass, PassManager
from tfgraphopt.pipeline import Pipeline, flatten, solve
from tfgraphopt.plugins import Tables
from tfgraphopt.report import Report
from tfgraphopt.rewrite import REWRITE_LOG, Applied, Explanation, Pattern, RewriteLog, explain_rule, hosted


@attrs.frozen(slots=True)
class RuleReport:
    """What there is to say of one rule and one model.

    Attributes:
        rule, host, plugin: the rule, the pass that applies it, and who brought it.
        pipeline: the passes that ran before the question was put.
        places: per graph, every node that could be the rule's root just before its host runs, where it fires first, then the
            nearest misses.
        applied: what the rule did when the host then ran with all its rules (others may fire first, or make room for it).
        default: whether the pipeline that was asked for runs the host at all.
    """

    rule: str
    host: str
    plugin: str
    pipeline: str
    places: Mapping[str, Sequence[Explanation]]
    applied: Sequence[Applied]
    default: bool

    def to_json(self) -> dict[str, Any]:
        """A tree of plain Python values."""
        return attrs.asdict(self)


def explain_rule_in(
    graph_def: GraphDef, outputs: Sequence[str], name: str, config: Config, tables: Tables
) -> RuleReport:
    """Run the pipeline up to the pass that hosts rule ``name``, and ask the rule about every node that it could begin at.

    Raises:
        ConfigError: there is no such rule, or no pass that hosts it.
    """
    rule, owner = _find(name, tables)
    host = _host(rule, owner, tables)
    asked = pipeline_of(config, tables)
    before, step = _up_to(host, asked, tables)
    module = import_graph_def(graph_def, list(outputs), ops=op_table(tables))
    ctx = Context(module, config, tables, Report())
    PassManager(before.steps, (Verify(),)).run(ctx)
    places = {g.name: explain_rule(g, rule) for g in _graphs(ctx, host)}
    log: RewriteLog = ctx.facts.setdefault(REWRITE_LOG, RewriteLog())
    start = len(log.applied)
    PassManager((step,), (Verify(),)).run(ctx)
    applied = [a for a in log.applied[start:] if a.rule == rule.name]
    return RuleReport(rule.name, host.name, owner, str(before), places, applied, host.name in asked.names)


def _find(name: str, tables: Tables) -> tuple[Pattern, str]:
    by_key = tables.by_key.get("tfgraphopt_patterns", {})
    if name not in by_key:
        close = difflib.get_close_matches(name, by_key, n=3)
        hint = f"did you mean {' or '.join(close)}?" if close else "tfgraphopt passes lists them"
        raise ConfigError(f"there is no rule {name!r}", hint=hint)
    found = by_key[name]
    item = found.item() if isinstance(found.item, type) else found.item
    return item, found.plugin


def _host(rule: Pattern, owner: str, tables: Tables) -> type[Pass]:
    passes: Mapping[str, type[Pass]] = tables.table("tfgraphopt_passes")
    if rule.host not in passes:
        raise ConfigError(
            f"rule {rule.name!r} of plugin {owner!r} names host pass {rule.host!r}, which no plugin provides",
            hint=f"passes with rules are {', '.join(sorted(hosts(tables))) or 'none'}",
        )
    return passes[rule.host]


def _up_to(host: type[Pass], asked: Pipeline, tables: Tables) -> tuple[Pipeline, Pass]:
    """The passes before the host, and the host with the options that the pipeline gives it."""
    if host.name not in asked.names:  # an optional pass: where the default order would put it
        passes: Iterable[type[Pass]] = tables.items("tfgraphopt_passes")
        asked = solve(p() for p in passes if p.default or p is host)
    steps = list(flatten(asked))
    index = next(i for i, s in enumerate(steps) if s.name == host.name)
    return Pipeline(steps[:index]), steps[index]


def _graphs(ctx: Context, host: type[Pass]) -> list[Any]:
    return list(ctx.module.graphs(host.dialect or "tf"))


def hosts(tables: Tables) -> dict[str, list[Pattern]]:
    """The rules of all plugins by the pass that hosts them, whether that pass exists or not."""
    patterns = tables.items("tfgraphopt_patterns")
    names = dict.fromkeys(p.host for p in patterns)
    return {host: hosted(patterns, host) for host in sorted(names)}
