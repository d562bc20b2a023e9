"""``import tfgraphopt`` is all that a process needs to load models with engines, and it harms nobody's import of TensorFlow.

Every test is about a fresh process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from formats.models import WIDTH, images, numbers

import tfgraphopt as tgo
from tfgraphopt import plugins, registration, runtimes

ENGINES = ("tensorrt", "openvino")


def python(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    given = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=given)


def ours(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that tfgraphopt has logged."""
    return [line for line in done.stderr.splitlines() if "engines of" in line]


PACKAGE = {
    "circular/__init__.py": "import tfgraphopt, tensorflow\n",
    "circular/plugin.py": "import tfgraphopt\nimport tensorflow as tf\nassert tfgraphopt.hookimpl and tf.constant\n",
    "circular/engine.py": (
        "import tensorflow as tf\nfrom tfgraphopt.runtimes import EngineRuntime\n"
        "RUNTIME = EngineRuntime('circular', lambda: print('circular', tf.__version__), dict, lambda: None)\n"
    ),
    "circular/raising.py": "raise RuntimeError('not on this machine')\n",
    "circular-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: circular\nVersion: 1.0\n",
    "circular-1.0.dist-info/entry_points.txt": (
        "[tfgraphopt]\ncircular = circular.plugin\n"
        "[tfgraphopt.runtimes]\ncircular = circular.engine:RUNTIME\nmissing = circular.nowhere:RUNTIME\n"
        "odd = circular.plugin:NOTHING\nraising = circular.raising:RUNTIME\n"
    ),
}  # fmt: skip


@pytest.fixture
def installed(tmp_path: Path) -> str:
    """Where a distribution is installed whose package imports everything at its top, and whose entry points are partly broken."""
    for name, text in PACKAGE.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return str(tmp_path)


# -- both, in either order -----------------------------------------------------------------------------------------------


class Model(tf.Module):  # type: ignore[misc]
    """A segment."""

    def __init__(self) -> None:
        self.first, self.second = (tf.Variable(numbers(WIDTH, WIDTH, seed=s)) for s in (0, 1))

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, name="x")])
    def scores(self, x: Any) -> Any:
        """Two products."""
        return tf.nn.softmax(tf.matmul(tf.nn.relu(tf.matmul(x, self.first)), self.second))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with engines of each kind, and what TensorFlow makes of some images."""
    directory, model = tmp_path_factory.mktemp("saved"), Model()
    tf.saved_model.save(model, str(directory / "original"), signatures=model.scores)
    for engine in ENGINES:
        result = tgo.optimize(directory / "original", engine=engine, max_batch_size=4)
        assert [s.status for s in result.report.segments.values()] == ["built"]
        result.save(directory / engine)
    np.savez(directory / "known.npz", images=images(), scores=model.scores(images()))
    return directory


RUN = """
import sys, numpy as np
{imports}
tf.config.threading.set_intra_op_parallelism_threads(1)  # nothing has started TensorFlow
known = np.load(sys.argv[1] + "/known.npz")
for engine in sys.argv[2:]:
    run = tf.saved_model.load(f"{{sys.argv[1]}}/{{engine}}").signatures["serving_default"]
    np.testing.assert_allclose(run(tf.constant(known["images"]))["output_0"], known["scores"], rtol=1e-5, atol=1e-6)
print(*(m for m in sys.modules if m.startswith("tfgraphopt") and m.endswith("plugin")))
from tfgraphopt_trt import engine_op
print(sum(c.engine_runs + c.fallback_runs for c in engine_op.counters().values()))
print(sum(c.engine_runs for c in engine_op.counters().values()) >= 1)
"""


def test_models_load_and_run_with_tensorflow_first(saved: Path) -> None:
    """Without a plugin or a compiler."""
    imports = "import tensorflow.python.framework.ops, tfgraphopt\nimport tensorflow as tf"
    done = python(RUN.format(imports=imports), saved, *ENGINES, CXX="/nonexistent")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", "2", "True"], (
        "no plugin was imported; both nodes ran, OpenVINO's in its engine"
    )
    assert not ours(done)


def test_models_load_and_run_with_tfgraphopt_first_in_the_midst_of_a_plugin(saved: Path, installed: str) -> None:
    """A plugin that imports both at its top loads, and broken entry points cost a line each."""
    imports = "import circular.plugin\nimport tensorflow as tf"
    after = "import tfgraphopt.plugins; print(tfgraphopt.plugins.load().failures)"
    done = python(RUN.format(imports=imports) + after, saved, *ENGINES, CXX="/nonexistent", PYTHONPATH=installed)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("circular 2.")
    assert done.stdout.splitlines()[1:] == ["", "2", "True", "()"]
    missing, odd, raising = ours(done)
    assert "missing" in missing
    assert "No module named 'circular.nowhere'" in missing
    assert "odd" in odd
    assert "RuntimeError: not on this machine" in raising


def test_tfgraphopt_alone_imports_no_tensorflow_and_no_plugin() -> None:
    code = "import sys, tfgraphopt; print([m for m in sys.modules if m.startswith(('tensorflow', 'tfgraphopt_'))])"
    done = python(code)
    assert done.stdout.strip() == "[]", done.stderr


def test_entry_points_and_hooks_name_the_same_runtimes() -> None:
    tables = plugins.load(strict=True)
    named = {point.name: point.load() for point in entry_points(group=runtimes.GROUP)}
    given = {tables.owner("tfgraphopt_runtimes", r.name): r for r in tables.items("tfgraphopt_runtimes")}
    assert named == given
    assert all(named[name] is given[name] for name in named)


# -- nobody's import breaks --------------------------------------------------------------------------------------------


KNOWN = """
from tensorflow.python.framework import op_def_registry
print(*(op for op in ("TRTEngineOp", "TfgraphoptRecord") if op_def_registry.get(op) is not None))
"""


THREADS = """
import sys, threading
start, broken = threading.Barrier(4), []
def thread(name):
    def work():
        start.wait()
        try:
            __import__(name)
        except BaseException as error:
            broken.append(f"{name}: {error!r}")
    return threading.Thread(target=work)
threads = [thread(n) for n in ("tensorflow", "tfgraphopt", "tfgraphopt.runtime", "circular.plugin")]
for t in threads: t.start()
for t in threads: t.join()
print(broken)
"""


def test_threads_that_import_everything_at_once(installed: str) -> None:
    done = python(THREADS + KNOWN, PYTHONPATH=installed)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.startswith("circular")] == [
        "[]",
        "TRTEngineOp TfgraphoptRecord",
    ]


COMPILER = f"""
from tfgraphopt.cli import main
assert main(["passes"]) == 0
print("--"){KNOWN}
import sys, tensorflow, tfgraphopt.registration
print("-- at last", file=sys.stderr)
tfgraphopt.registration.tensorflow_imported(tensorflow)
try:
    import tfgraphopt.runtime
except tfgraphopt.TfGraphOptError as error:
    print(error.what)
"""


def test_without_a_compiler_and_its_product_a_line_says_so_and_the_runtime_raises(tmp_path: Path) -> None:
    """And the command line does not even try where it runs no engine."""
    done = python(COMPILER, CXX="/nonexistent", TFGRAPHOPT_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.partition("--")[2].split("\n")[1:] == ["", "no C++ compiler was found", ""]
    assert "engines of" not in done.stderr.partition("-- at last")[0]
    (line,) = ours(done)
    assert "engines of int8, openvino, trt" in line
    assert "no C++ compiler was found" in line
    assert "apt-get install g++" in line


@pytest.mark.parametrize(("given", "lines"), [("", 3), ("off", 0)])
def test_the_environment_switches_it_off(
    given: str, lines: int, installed: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("TFGRAPHOPT_ENGINE_OPS", given)
    registration.tensorflow_imported(tf)
    assert len(caplog.records) == lines


def test_plugins_that_are_switched_off_are_left_out(
    installed: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.syspath_prepend(installed)
    monkeypatch.setenv("TFGRAPHOPT_DISABLE_PLUGINS", "missing,raising")
    registration.tensorflow_imported(tf)
    (record,) = caplog.records
    assert "odd" in record.getMessage()
