"""``tfgraphopt cache`` and ``tfgraphopt doctor``, on caches and installations that are really there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from main_job.test_bad_input import small_graph

import tfgraphopt as tgo
from tfgraphopt.cli import main
from tfgraphopt_trt.build_options import BuildResult
from tfgraphopt_trt.engine_cache import EngineCache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EngineCache:
    """An engine cache of three entries of 1000 bytes and more; c was used longest ago."""
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path))
    cache = EngineCache()
    for age, name in enumerate("abc"):
        result = BuildResult(name.encode() * 1000, 0.5, {}, 0, "tensorrt_rtx", "1.7")
        os.utime(cache.put(name * 64, result, f"engine_{name}"), (10_000 - age, 10_000 - age))
    return cache


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main([*words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_entries_are_listed(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    listed = answer(capsys, "cache", "ls")
    assert listed["engines"]["path"] == str(cache.directory)
    assert [e["name"] for e in listed["engines"]["entries"]] == ["engine_a", "engine_b", "engine_c"]
    assert listed["engines"]["bytes"] == sum(e.bytes for e in cache.ls())
    assert listed["ops"]["entries"] == []
    assert main(["cache", "ls", "--cache", "engines"]) == 0
    printed = capsys.readouterr().out
    assert "3 entries" in printed
    assert "engine_b" in printed


def test_entries_are_removed_by_key_by_name_and_all(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "cache", "rm", "aaaa", "engine_b") == {"removed": {"engines": 2, "ops": 0, "rtx-kernels": 0}}
    assert [e.name for e in cache.ls()] == ["engine_c"]
    assert main(["cache", "rm", "zzz"]) == 1
    assert main(["cache", "rm"]) == 1
    assert "either keys or --all" in capsys.readouterr().err
    assert answer(capsys, "cache", "rm", "--all", "--cache", "engines") == {"removed": {"engines": 1}}


@pytest.mark.parametrize(("size", "left"), [("0", 0), ("3k", 2), ("1M", 3), ("1GiB", 3)])
def test_the_entries_used_longest_ago_are_pruned(
    cache: EngineCache, capsys: pytest.CaptureFixture[str], size: str, left: int
) -> None:
    assert answer(capsys, "cache", "prune", "--max-bytes", size)["removed"]["engines"] == 3 - left
    assert [e.name for e in cache.ls()] == ["engine_a", "engine_b", "engine_c"][:left]


def test_the_bound_of_the_environment_holds(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFGRAPHOPT_ENGINE_CACHE_BYTES", "1500")
    assert answer(capsys, "cache", "prune")["removed"]["engines"] == 2
    assert EngineCache().max_bytes == 1500
    monkeypatch.setenv("TFGRAPHOPT_ENGINE_CACHE_BYTES", "much")
    with pytest.raises(tgo.TfGraphOptError, match="no number of bytes"):
        EngineCache()


def test_looking_at_caches_does_not_make_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path / "none"))
    folders = {"engines": "engines", "ops": "native", "rtx-kernels": "rtx-kernels"}
    assert answer(capsys, "cache", "path") == {n: str(tmp_path / "none" / f) for n, f in folders.items()}
    assert answer(capsys, "cache", "ls")["engines"]["entries"] == []
    assert not (tmp_path / "none").exists()
    assert main(["cache", "path", "--cache", "engines"]) == 0
    assert capsys.readouterr().out.strip().replace("\n", "") == str(tmp_path / "none" / "engines")


def test_wrong_words_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "ls", "--cache", "cookies"]) == 1
    assert "there are engines, ops, rtx-kernels" in capsys.readouterr().err
    assert main(["cache", "prune", "--max-bytes", "lots"]) == 1
    with pytest.raises(SystemExit):
        main(["cache", "burn"])


def test_a_second_optimisation_builds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path))
    path = tmp_path / "model.pb"
    path.write_bytes(small_graph().SerializeToString())
    words = ["optimize", str(path), "--outputs", "y", "--max-batch-size", "4", "-o", str(tmp_path / "out.pb")]
    first, second = answer(capsys, *words), answer(capsys, *words)
    assert [s["cached"] for s in first["segments"]] == [False]
    assert [s["cached"] for s in second["segments"]] == [True]
    assert first["segments"][0]["engine_digest"] == second["segments"][0]["engine_digest"]
    (entry,) = answer(capsys, "cache", "ls")["engines"]["entries"]
    assert entry["name"] == "TRTEngineOp_000_000"


def test_doctor_says_what_is_installed_and_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    import tensorflow as tf

    tree = answer(capsys, "doctor")
    assert tree["healthy"] is True
    found = {f["subject"]: f for f in tree["findings"]}
    assert found["TensorFlow"]["text"].startswith(tf.__version__)
    assert found["tfgraphopt"]["text"].startswith(tgo.__version__)
    assert {"Python", "GPU", "C++ compiler", "op cache", "TensorRT", "TensorRT for RTX", "engine cache"} <= found.keys()
    if found["TensorRT"]["state"] == "missing":
        assert found["TensorRT"]["hint"] == 'pip install "tfgraphopt[tensorrt]"'
    assert found["engine auto"]["text"].startswith(("takes ", "finds none"))
    assert "import tfgraphopt" in found["loading models"]["text"]
    assert main(["doctor"]) == 0
    assert "TensorRT for RTX" in capsys.readouterr().out


def test_doctor_finds_what_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache that others can write, a module that cannot be imported, no compiler: each is a problem with a remedy."""
    (tmp_path / "cache" / "engines").mkdir(parents=True)
    (tmp_path / "cache" / "engines").chmod(0o777)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "tensorrt.py").write_text(
        "raise ImportError('libnvinfer.so.10: cannot open shared object file')"
    )
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    tree = answer(capsys, "doctor", code=3)
    problems = {f["subject"]: f for f in tree["findings"] if f["state"] == "problem"}
    assert "executable code" in problems["engine cache"]["text"]
    assert "libnvinfer.so.10" in problems["TensorRT"]["text"]
    assert "no-such-compiler" in problems["C++ compiler"]["text"]
    assert all(f["hint"] for f in problems.values())
    (loading,) = (f for f in tree["findings"] if f["subject"] == "loading models")
    assert (loading["state"], "is not compiled" in loading["text"]) == ("note", True)
