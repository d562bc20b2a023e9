"""The seams of the house: who may import what, and that every plugin can be taken away."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfgraphopt
from tfgraphopt import plugins
from tfgraphopt.config import Config
from tfgraphopt.graphdef import GraphDef, export_graph_def
from tfgraphopt.optimization import optimize_graph_def

CORE = Path(tfgraphopt.__file__).parent
OURS = sorted(
    {p.name: p.value for p in entry_points(group="tfgraphopt") if p.dist and p.dist.name == "tfgraphopt"}.items()
)
NAMES = [name for name, _ in OURS]
PACKAGES = sorted({value.partition(".")[0] for _, value in OURS} - {"tfgraphopt"})


def folder_of(package: str) -> Path:
    return (
        Path(sys.modules[package].__file__ or "").parent
        if package in sys.modules
        else Path(__import__(package).__file__ or "").parent
    )


def files(*packages: str) -> Iterator[tuple[str, Path]]:
    """Every Python file of some packages, with its name from the package on."""
    for package in packages:
        folder = folder_of(package)
        for path in sorted(folder.rglob("*.py")):
            yield f"{package}/{path.relative_to(folder).as_posix()}", path


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(packages: list[str], wrong: tuple[str, ...], allowed: tuple[str, ...] = ()) -> dict[str, list[str]]:
    found = {name: sorted(i for i in imports(path) if i.startswith(wrong)) for name, path in files(*packages)}
    return {name: names for name, names in found.items() if names and not name.startswith(allowed or ("-",))}


def test_the_framework_imports_no_plugin() -> None:
    assert not offenders(["tfgraphopt"], ("tfgraphopt_",))


def test_protobuf_classes_are_imported_by_graphdef_and_formats_only() -> None:
    """And formats know the messages around graphs (SavedModels, checkpoints), never those that graphs are made of."""
    wrong = ("google.protobuf", "tensorflow.core")
    assert not offenders(["tfgraphopt", *PACKAGES], wrong, ("tfgraphopt/graphdef/", "tfgraphopt/formats/"))
    graphs = ("tensorflow.core.framework.graph", "tensorflow.core.framework.node", "tensorflow.core.framework.function")
    assert not offenders(["tfgraphopt"], graphs, ("tfgraphopt/graphdef/",))


def test_tensorrt_is_imported_in_one_place() -> None:
    """By the facade, and by name only: nothing else imports TensorRT, and nothing does it before it is needed."""
    allowed = (
        "tfgraphopt_trt/tensorrt_api.py",
        "tfgraphopt_trt/emit.py",
        "tfgraphopt_pycuda/",
        "tfgraphopt_trt/engine_op/",
    )
    wrong = ("tensorrt", "onnxruntime")
    assert not offenders(["tfgraphopt", *PACKAGES], wrong, allowed)


NOT_THERE = """
import importlib, pkgutil, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].partition("_")[0] == "tensorrt" or name.startswith("onnxruntime"):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Finder())
packages = sys.argv[1:]
for package in packages:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if module.name.rpartition(".")[2] not in ("__main__", "runtime"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name.startswith("tfgraphopt"):
                    raise
print("imported")
"""


def test_importing_every_module_imports_no_tensorrt() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOT_THERE, "tfgraphopt", *PACKAGES],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("imported")


def test_plugins_use_each_other_by_public_names_only() -> None:
    for package in PACKAGES:
        for name, path in files(package):
            foreign = [i for i in imports(path) if i.startswith("tfgraphopt") and not i.startswith(package)]
            private = [i for i in foreign if any(part.startswith("_") for part in i.split("."))]
            assert not private, f"{name} imports {private}"


# -- taking plugins away -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> GraphDef:
    rng = np.random.default_rng(0)
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8], name="x")
        h = tf.identity(tf.nn.relu(tf.matmul(x, rng.normal(size=(8, 8)).astype(np.float32))))
        tf.nn.softmax(tf.nn.tanh(h + 1.0), name="y")
    return graph.as_graph_def()


@pytest.mark.parametrize("package", ["tfgraphopt", *PACKAGES])
def test_every_package_exports_its_types(package: str) -> None:
    assert (folder_of(package) / "py.typed").exists()


@pytest.mark.parametrize("name", NAMES)
def test_any_plugin_can_be_taken_away(name: str, model: GraphDef) -> None:
    tables = plugins.load(block=[name])
    assert not tables.failures
    assert name not in {p.name for p in tables.plugins}
    report = optimize_graph_def(model, ["y"], Config(engine="none"), tables=tables).report
    assert {n.name for n in model.node} <= report.verdicts.keys()
    expects_engine = name not in ("trt", "converters", "builtin")
    assert bool(report.segments) is expects_engine


@pytest.mark.parametrize("name", NAMES)
def test_any_plugin_loads_alone_beside_what_it_stands_on(name: str) -> None:
    tables = plugins.load(only=[name])
    assert not tables.failures
    assert [p.name for p in tables.plugins] == [name]


def test_with_no_plugin_at_all_the_optimiser_is_the_identity(model: GraphDef) -> None:
    result = optimize_graph_def(model, ["y"], tables=plugins.load(only=[]))
    assert result.graph_def == model
    assert result.report.pipeline == ""
    assert {n.name: n.op for n in export_graph_def(result.module).node} == {n.name: n.op for n in model.node}
    assert not result.report.segments
