"""The compiler's cache notices a changed callee, in whatever kernel file it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from zswap_gym.kernel import jit, rng

PACKAGE = Path(jit.__file__).parents[1]

SCRIPT = """
from zswap_gym.kernel import jit, proactive
loaded = vars()
exec(open({conftest!r}).read(), loaded)
b = bench({{"g": 500}})
b.fill("g")
b.run(60)
print(b.write("g", "max=4K 30").pages, jit.CACHE_DIR.name, proactive.__file__)
"""


@pytest.mark.slow
def test_a_changed_callee_changes_the_next_run(tmp_path: Path) -> None:
    """The scan cap lives in proactive.py, where no entry point is. Compiles twice; the third run does not."""
    copy = tmp_path / "src" / "zswap_gym"
    copy.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "units.py"):
        shutil.copy(PACKAGE / name, copy / name)
    shutil.copytree(PACKAGE / "kernel", copy / "kernel", ignore=shutil.ignore_patterns("__pycache__"))
    script = SCRIPT.format(conftest=str(Path(__file__).with_name("conftest.py")))
    env = {
        **os.environ,
        "PYTHONPATH": str(copy.parent),
        "ZSWAP_GYM_CACHE": str(tmp_path / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run() -> tuple[int, str, bool]:
        done = subprocess.run(
            [sys.executable, "-P", "-c", script],
            env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        pages, digest, file = done.stdout.split()
        assert Path(file).parent == copy / "kernel"
        return int(pages), digest, "compiling" in done.stderr

    first = run()
    assert (first[0], first[2]) == (16, True)
    callee = copy / "kernel" / "proactive.py"
    source = callee.read_text()
    assert source.count("unit * host.wb_scan_ratio\n") == 1
    callee.write_text(source.replace("unit * host.wb_scan_ratio\n", "unit * 5\n"))
    second = run()
    assert (second[0], second[2]) == (5, True)
    assert second[1] != first[1]
    callee.write_text(source)
    assert run() == (16, first[1], False)


def test_python_cannot_call_what_has_no_machine_code() -> None:
    for _ in range(2):  # the second time it is compiled already
        with pytest.raises(TypeError):
            rng.hashed_uniform(1, 2, 3)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kernel's sources, and a jit.py that reads it."""
    copy = tmp_path / "kernel"
    shutil.copytree(PACKAGE / "kernel", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "_SOURCES", copy)
    return copy


def test_the_digest_is_of_the_contents(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = jit.source_digest()
    monkeypatch.undo()
    assert copied == jit.source_digest()
    assert jit.CACHE_DIR.name == copied or "zswap-gym-" in jit.CACHE_DIR.name
    assert sources.is_dir()


@pytest.mark.parametrize("name", sorted(path.name for path in (PACKAGE / "kernel").glob("*.py")))
def test_the_digest_changes_with_every_file(sources: Path, name: str) -> None:
    before = jit.source_digest()
    file = sources / name
    file.write_bytes(file.read_bytes() + b"\n")
    changed = jit.source_digest()
    assert changed != before
    file.unlink()
    assert jit.source_digest() not in {before, changed}


def test_the_digest_changes_with_a_new_and_a_renamed_file(sources: Path) -> None:
    before = jit.source_digest()
    (sources / "lists.py").rename(sources / "list.py")
    renamed = jit.source_digest()
    (sources / "new.py").write_text("")
    assert len({before, renamed, jit.source_digest()}) == 3


def test_the_digest_names_compiler_and_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = {jit.source_digest()}
    monkeypatch.setattr(jit.numba, "__version__", "0.0")
    digests.add(jit.source_digest())
    monkeypatch.setattr(sys, "version", "4.0")
    digests.add(jit.source_digest())
    monkeypatch.setattr(jit.llvm, "get_host_cpu_name", lambda: "abacus")
    digests.add(jit.source_digest())
    assert len(digests) == 4
