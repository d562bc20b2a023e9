"""Explanations: advice is held against what really happens, boundaries against arithmetic, provenance against the passes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from framework.test_plugins import plugin

from explanation.models import chain, dense, explained
from tfgraphopt import plugins
from tfgraphopt.cli import main
from tfgraphopt.config import Config
from tfgraphopt.errors import ConfigError
from tfgraphopt.explanation import Explanation, Watcher, explain_graph_def
from tfgraphopt.optimization import optimize_graph_def
from tfgraphopt.report import Advice


def advice(found: Explanation, kind: str) -> list[Advice]:
    return [a for a in found.report.advice if a.kind == kind]


def engines(graph_def: Any, **options: Any) -> int:
    config = Config(engine="none", max_batch_size=4, **options)
    return len(optimize_graph_def(graph_def, ["y"], config).report.segments)


# -- advice --------------------------------------------------------------------------------------------------------------


def test_a_larger_minimum_gives_the_engines_that_it_promises() -> None:
    model = chain([120, 4, 3, 3])
    (raised,) = advice(explained(model), "raise-minimum-segment-size")
    assert "raise minimum_segment_size to 4: 2 engines instead of 4; 95 % of the nodes stay in engines" in raised.title
    assert engines(model) == raised.engines_before == 4
    assert engines(model, minimum_segment_size=4) == raised.engines_after == 2


def test_no_larger_minimum_is_advised_where_it_would_cost_too_much() -> None:
    assert not advice(explained(chain([5, 6, 7])), "raise-minimum-segment-size")
    assert not explained(chain([5])).report.advice


def test_a_smaller_minimum_gives_the_engines_that_it_promises() -> None:
    model = chain([10, 2, 9])
    (lowered,) = advice(explained(model), "lower-minimum-segment-size")
    assert lowered.engines_after == engines(model, minimum_segment_size=2) == 3
    assert lowered.nodes_after - lowered.nodes_before == 2


def test_a_blocker_splits_the_graph_as_it_is_said_to() -> None:
    (blocked,) = advice(explained(chain([5, 5])), "blocked-by-node")
    assert blocked.title.startswith(
        "Lgamma at run_1/between splits the graph: were it convertible, 1 engine instead of 2"
    )
    assert blocked.nodes == ("run_1/between",)
    assert blocked.engines_after == engines(chain([5, 5], between=tf.nn.relu)) == 1


def test_an_op_that_blocks_often_is_counted_once() -> None:
    (common,) = advice(explained(chain([5, 5, 5, 5])), "blocked-by-op")
    assert common.engines_after == engines(chain([5, 5, 5, 5], between=tf.nn.relu)) == 1
    assert common.nodes == tuple(f"run_{i}/between" for i in (1, 2, 3))
    assert explained(chain([5, 5, 5, 5])).report.advice[0] == common  # the greatest gain comes first


def test_what_the_caller_denied_is_advised_against() -> None:
    model = chain([5, 5], between=tf.nn.relu)
    (denied,) = advice(explained(model, denied_ops=["Relu"]), "blocked-by-node")
    assert "op Relu is denied by the caller" in denied.action
    assert denied.engines_after == engines(model) == 1


def test_blockers_one_after_the_other_are_one_piece_of_advice() -> None:
    def two(x: Any, name: str) -> Any:
        return tf.math.igamma(tf.math.lgamma(x, name=name), x)

    (blocked,) = advice(explained(chain([5, 5], between=two)), "blocked-by-node")
    assert "2 nodes from run_1/between on (Lgamma, Igamma) split the graph" in blocked.title
    assert blocked.engines_after == 1


def test_advice_is_asked_of_plugins_for_explanations_only() -> None:
    asked = []

    def give(step: Any, graph: Any, ctx: Any) -> Iterable[Advice] | None:
        asked.append(step.name)
        return [Advice("acme", "use acme", "install acme")] if step.name == "dce" else None

    tables = plugins.load(extra=[("acme", plugin(advice=give))], strict=True)
    optimize_graph_def(dense(), ["y"], Config(engine="none"), tables=tables)
    assert not asked
    found = explain_graph_def(dense(), ["y"], tables=tables)
    assert {"segment", "dce", "lower"} <= set(asked)
    assert [a.title for a in found.report.advice] == ["use acme"]


# -- boundaries and provenance -------------------------------------------------------------------------------------------


def test_boundaries_have_the_bytes_of_the_optimal_shapes() -> None:
    found = explained(chain([5, 5]), max_batch_size=16)
    crossing = {(b.segment[-3:], b.direction, b.node): b for b in found.boundaries}
    assert {b.bytes for b in crossing.values()} == {16 * 8 * 4}
    assert crossing["000", "in", "x"].others == ("x",)
    assert crossing["000", "out", "run_0/Tanh_4"].others == ("run_1/between",)
    assert crossing["001", "in", "run_1/between"].type == "f32[?,8]"
    assert found.boundary_bytes == 4 * 16 * 8 * 4


def test_provenance_follows_nodes_through_rules_and_passes() -> None:
    found = explained(dense())
    merged = found.provenance["two"]
    assert any(e.kind == "removed" and e.step == "cse" for e in merged)
    made = [e for e in found.provenance["product"] if e.step.startswith("lower") and e.kind == "made"]
    assert "trt.matrix_multiply" in {e.op for e in made}
    assert set(found.provenance) == {n.name for n in found.views[0].nodes}


def test_views_are_the_graphs() -> None:
    found = explained(dense())
    before, after, layers = found.views
    assert [n.name for n in before.nodes] == [v.node for v in found.report.verdicts.values()]
    names = {n.name: n for n in before.nodes}
    assert names["product"].types == ("f32[?,8]",)
    assert {before.nodes[i].name for i in names["last"].inputs} == {"add", "last/b"} or names["last"].inputs
    assert "TRTEngineOp_000_000" in {n.name for n in after.nodes}
    assert {"input", "trt.softmax"} <= {n.op for n in layers.nodes}
    assert all(source < target for view in found.views for source, target in view.edges)


def test_a_watcher_explains_a_real_build_and_no_other() -> None:
    watcher = Watcher()
    result = optimize_graph_def(dense(), ["y"], Config(engine="none", max_batch_size=4), instruments=[watcher])
    assert watcher.explanation(result).report is result.report
    with pytest.raises(ConfigError, match="did not see"):
        Watcher().explanation(result)


# -- the command ---------------------------------------------------------------------------------------------------------


def test_the_command_prints_advice_boundaries_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.pb"
    model.write_bytes(chain([5, 5]).SerializeToString())
    assert main(["explain", str(model), "--max-batch-size", "4"]) == 0
    printed = capsys.readouterr().out
    assert "advice: Lgamma at run_1/between splits the graph" in printed
    assert "what crosses between TensorFlow and engines" in printed
    assert main(["explain", str(model), "--max-batch-size", "4", "--json"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree["advice"][0]["kind"] == "blocked-by-node"
    assert {b["bytes"] for b in tree["boundaries"]} == {128}
    assert tree["provenance"]["run_0/Tanh"][-1]["step"]


def test_the_command_tells_the_story_of_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model.pb"
    model.write_bytes(dense().SerializeToString())
    assert main(["explain", str(model), "--max-batch-size", "4", "--node", "tw*", "--node", "product"]) == 0
    printed = capsys.readouterr().out
    assert "Tanh two: simplified" in printed
    assert "Tanh 'two' removed by cse in graph 'main'" in printed
    assert "MatMul product: converted" in printed
    assert "  converter: plugin converters" in printed
    assert main(["explain", str(model), "--max-batch-size", "4", "--node", "nobody"]) == 0
    assert "no node is called nobody" in capsys.readouterr().out
