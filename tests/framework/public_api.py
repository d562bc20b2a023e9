"""The public names, module by module; ``python -m framework.public_api`` (with tests/ on the path) writes them down anew."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

FROZEN = Path(__file__).with_name("public_api.txt")

MODULES = (
    "tfgraphopt", "tfgraphopt.benchmark", "tfgraphopt.blame", "tfgraphopt.compat.trt_convert", "tfgraphopt.caches",
    "tfgraphopt.config", "tfgraphopt.diagnosis",
    "tfgraphopt.errors", "tfgraphopt.explaining", "tfgraphopt.explanation", "tfgraphopt.gpu_memory",
    "tfgraphopt.hookspecs", "tfgraphopt.instruments", "tfgraphopt.ir", "tfgraphopt.native", "tfgraphopt.passes",
    "tfgraphopt.pipeline", "tfgraphopt.plugins", "tfgraphopt.profiling", "tfgraphopt.report", "tfgraphopt.rewrite", "tfgraphopt.runtime",
    "tfgraphopt.runtimes", "tfgraphopt.verification", "tfgraphopt.testing.cases", "tfgraphopt.testing.compare",
    "tfgraphopt.testing.contracts", "tfgraphopt.testing.growing", "tfgraphopt.testing.numbers",
    "tfgraphopt.testing.op_makers", "tfgraphopt.testing.pytest_plugin", "tfgraphopt.testing.strategies",
    "tfgraphopt_int8", "tfgraphopt_int8.testing",
    "tfgraphopt_layout", "tfgraphopt_layout.testing", "tfgraphopt_pycuda", "tfgraphopt_trt.advisors", "tfgraphopt_trt.builder",
    "tfgraphopt_trt.converter", "tfgraphopt_trt.hookspecs", "tfgraphopt_trt.layerdef", "tfgraphopt_trt.meaning",
    "tfgraphopt_trt.tensorrt_runtime",
    "tfgraphopt_trt.testing",
)  # fmt: skip
"""Modules that users and authors of plugins import from; everything else may change from one version to the next."""


def public_names(module: ModuleType) -> list[str]:
    """What ``__all__`` lists, or else what the module's own source defines without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    tree = ast.parse(Path(module.__file__ or "").read_text())
    return sorted({name for statement in tree.body for name in _defined(statement) if not name.startswith("_")})


def _defined(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [t.id for t in targets if isinstance(t, ast.Name)]


def listing() -> str:
    """All public names, a line each."""
    found = {name: public_names(importlib.import_module(name)) for name in MODULES}
    return "".join(f"{module}: {name}\n" for module, names in found.items() for name in names)


if __name__ == "__main__":
    FROZEN.write_text(listing())
