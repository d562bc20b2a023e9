"""Every example of the documentation runs, links lead somewhere, the tutorial quotes the distribution that is tested."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from docs.pages import ROOT, blocks, commands, pages, run_page

ACME = ROOT / "tests" / "third_party" / "acme_tf"


def names(paths: list[Path]) -> list[str]:
    return [p.relative_to(ROOT).as_posix() for p in paths]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in, from which modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def a_classifier() -> dict[str, Any]:
    """What the README takes for granted: a frozen graph, images for it, and the graph in a file."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="input")
        h = tf.nn.relu(tf.nn.conv2d(x, np.full((3, 3, 3, 4), 0.1, np.float32), 2, "SAME"))
        tf.nn.softmax(tf.reduce_mean(h, [1, 2]), name="predictions")
    graph_def = graph.as_graph_def()
    Path("model.pb").write_bytes(graph_def.SerializeToString())
    return {"tf": tf, "frozen_graph_def": graph_def, "images": np.ones((2, 8, 8, 3), np.float32)}


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {"README.md": a_classifier}


@pytest.mark.parametrize("name", names(pages()))
def test_the_code_of_a_page_runs(name: str, workplace: Path) -> None:
    run_page(ROOT / name, GIVEN.get(name, dict)())


@pytest.mark.parametrize("name", names(pages()))
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = page.read_text()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose)
    for tree in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
        targets += [f"{line}.md" for line in tree.splitlines() if line and not line.startswith(":")]
    generated = {f"reference/{name}.md" for name in ("api", "cli", "hooks", "passes", "ops")}
    missing = [
        t
        for t in targets
        if t.split("docs/")[-1].removeprefix("../") not in generated and not (page.parent / t).exists()
    ]
    assert not missing


def test_every_page_is_in_the_table_of_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for name in names(pages()):
        if name.startswith("docs/") and name != "docs/index.md":
            assert f"\n{name.removeprefix('docs/').removesuffix('.md')}\n" in index


def test_the_tutorial_quotes_the_distribution_that_is_tested() -> None:
    quoted = {b.file: b.code for b in blocks(ROOT / "docs" / "tutorial" / "plugin.md") if b.file}
    for file, code in quoted.items():
        assert (ACME / file).read_text() == code, f"docs/tutorial/plugin.md and tests/third_party/acme_tf/{file} differ"
    modules = {p.relative_to(ACME).as_posix() for p in (ACME / "acme_tf").iterdir() if p.suffix in (".py", ".cc")}
    assert modules <= set(quoted)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "tfgraphopt_trt_converters" in (tmp_path / "reference" / "hooks.html").read_text()


def test_the_runner_sees_what_a_reader_would_run(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 1\n```\n\n<!-- not run -->\n```python\nboom\n```\n\n<!-- file: x/y.txt -->\n\n```text\nhello\n```\n"
        "```sh\npip install x\ntfgraphopt plugins \\\n  --json  # comment\n```\n"
    )
    found = list(blocks(page))
    assert [(b.language, b.file, b.is_run) for b in found] == [
        ("python", "", True), ("python", "", False), ("text", "x/y.txt", False), ("sh", "", True),
    ]  # fmt: skip
    assert [b.line for b in found] == [1, 6, 12, 15]
    assert list(commands(found[-1].code)) == [["plugins", "--json"]]
