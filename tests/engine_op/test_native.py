"""Compiling an op library: once per content, also for processes that ask at once; clear errors where it fails."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from tfgraphopt import native
from tfgraphopt.errors import NativeBuildError

SOURCE = '#include "answer.h"\nextern "C" __attribute__((visibility("default"))) int answer() { return ANSWER; }\n'


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TFGRAPHOPT_ENGINE_OPS", "off")  # in an empty cache they would be compiled
    (tmp_path / "answer.cc").write_text(SOURCE)
    (tmp_path / "answer.h").write_text("#define ANSWER 42\n")
    return [tmp_path / "answer.cc", tmp_path / "answer.h"]


@pytest.fixture
def compiler_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compiler that writes down each compilation and then does it."""
    log, wrapper = tmp_path / "compiler.log", tmp_path / "logging-c++"
    real = shutil.which("g++") or shutil.which("clang++")
    wrapper.write_text(
        f'#!/bin/sh\ncase "$*" in *--version*) ;; *) echo "$*" >> {log}; sleep 1 ;; esac\nexec {real} "$@"\n'
    )
    wrapper.chmod(0o755)
    log.touch()
    monkeypatch.setenv("CXX", str(wrapper))
    return log


def _answer(library: Path) -> int:
    import ctypes

    return int(ctypes.CDLL(str(library)).answer())


def _compilations(log: Path) -> int:
    return sum(" -c " in line for line in log.read_text().splitlines())


def test_library_is_compiled_once_per_content(sources: list[Path], compiler_log: Path) -> None:
    first = native.build_op_library("answer", sources)
    assert native.build_op_library("answer", sources) == first
    assert _compilations(compiler_log) == 1
    assert _answer(first) == 42
    sources[1].write_text("#define ANSWER 43\n")
    second = native.build_op_library("answer", sources)
    assert _answer(second) == 43
    assert _compilations(compiler_log) == 2
    assert sorted(p.suffix for p in first.parent.iterdir() if p.suffix == ".so") == [".so", ".so"]
    assert not [p for p in first.parent.iterdir() if p.is_dir()]  # no scratch directory stays


def test_processes_that_ask_at_once_compile_once(sources: list[Path], compiler_log: Path) -> None:
    program = f"""
from pathlib import Path
from tfgraphopt import native
print(native.build_op_library("answer", [Path(p) for p in {[str(s) for s in sources]}]))
"""
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=120)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(paths) == 1
    assert _answer(Path(paths.pop())) == 42
    assert _compilations(compiler_log) == 1


def test_a_library_that_is_there_needs_no_compiler_and_no_place_to_write(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an image for serving is: the cache of another one, read only."""
    made = native.build_op_library("answer", sources)
    image = shutil.copytree(tmp_path / "cache", tmp_path / "image")
    for path in (*image.rglob("*"), image):
        path.chmod(0o555)
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(image))
    monkeypatch.setenv("CXX", "/nonexistent")
    found = native.build_op_library("answer", sources)
    assert found == image / "native" / made.name
    assert _answer(found) == 42
    sources[1].write_text("#define ANSWER 43\n")
    with pytest.raises(NativeBuildError, match=r"no C\+\+ compiler"):
        native.build_op_library("answer", sources)


def test_another_compiler_is_no_reason_to_compile_again(
    sources: list[Path], compiler_log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native.build_op_library("answer", sources)
    monkeypatch.delenv("CXX")
    native.build_op_library("answer", sources)
    assert _compilations(compiler_log) == 1
    assert len(list(native.cache_dir().glob("*.so"))) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"tensorflow_version": "2.18.0"},
        {"build": ("v2.21.0-of-mine", "g++ 12", "1")},
        {"system": ("aarch64", "glibc", "2.36")},
        {"system": ("x86_64", "glibc", "2.17")},
        {"compile_flags": ("-D_GLIBCXX_USE_CXX11_ABI=0", "--std=c++17")},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_library_for_another_tensorflow_or_system_is_never_taken(
    change: dict[str, object], sources: list[Path]
) -> None:
    here = native.target()
    assert attrs.evolve(here, **change).library("answer", sources) != here.library("answer", sources)


def test_where_tensorflow_lies_makes_no_difference(sources: list[Path]) -> None:
    """Nothing of it is in the library: an image may have another layout."""
    here = native.target()
    moved = attrs.evolve(
        here, compile_flags=("-I/opt/include", *here.compile_flags[1:]), link_flags=("-L/opt", *here.link_flags[1:])
    )  # fmt: skip
    assert moved.library("answer", sources) == here.library("answer", sources)
    assert here.tensorflow_version in here.library("answer", sources).name


def test_missing_compiler_is_a_clear_error(sources: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "/nonexistent")
    with pytest.raises(NativeBuildError, match=r"no C\+\+ compiler") as caught:
        native.build_op_library("answer", sources)
    assert "CXX=/nonexistent" in str(caught.value)
    assert "g++" in caught.value.hint


def test_no_compiler_on_path_names_the_candidates(sources: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NativeBuildError) as caught:
        native.build_op_library("answer", sources)
    assert "g++" in caught.value.why
    assert "clang++" in caught.value.why


def test_compiler_that_does_not_run_is_a_clear_error(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(NativeBuildError, match="does not run"):
        native.build_op_library("answer", sources)


def test_failed_compilation_shows_the_compilers_output(sources: list[Path]) -> None:
    sources[0].write_text("int broken( { return 1; }\n")
    with pytest.raises(NativeBuildError) as caught:
        native.build_op_library("answer", sources)
    assert "answer.cc" in caught.value.why
    assert "error" in caught.value.why
    assert not list(native.cache_dir().glob("*.so"))


def test_missing_source_is_a_clear_error(sources: list[Path]) -> None:
    sources[0].unlink()
    with pytest.raises(NativeBuildError, match="missing"):
        native.build_op_library("answer", sources)


def test_damaged_library_is_a_clear_error(sources: list[Path]) -> None:
    path = native.build_op_library("answer", sources)
    path.write_bytes(b"not a library")
    with pytest.raises(NativeBuildError, match="cannot be loaded") as caught:
        native.load_op_library("answer", sources)
    assert str(path) in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_cache_is_a_clear_error(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(locked / "cache"))
    with pytest.raises(NativeBuildError, match="TFGRAPHOPT_CACHE_DIR"):
        native.build_op_library("answer", sources)


def test_cache_path_that_is_a_file_is_a_clear_error(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFGRAPHOPT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(NativeBuildError, match="TFGRAPHOPT_CACHE_DIR"):
        native.build_op_library("answer", sources)
