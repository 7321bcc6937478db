"""Any line of any kernel file inserted, dropped, blanked, widened, garbled or cut: the right value, or one
clear line that names file and key; never a wrong number.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.errors import UserError
from zswap_gym.host import reading
from zswap_gym.host.linux import LinuxHost
from zswap_gym.host.reading import read_machine, read_sample
from zswap_gym.host.types import Sample

TREE = Path(__file__).parents[1] / "fixtures" / "cgroup" / "6.12-v1"
FILES = {
    file: (TREE / file.lstrip("/") if file[0] == "/" else TREE / "cgroup" / "web" / file).read_text()
    for file in (*reading.CGROUP_FILES, *reading.MACHINE_FILES)
}

lines = st.one_of(
    st.sampled_from(
        ["", " ", "zswap", "zswpwb 7", "anon -1", "MemFree: 1 kB", "max", "node 0 1 2", "\0", "some avg10=9"]
    ),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n"), max_size=20),
)
numbers = st.sampled_from(["-1", "nan", "1e3", "0x10", "1_0", "\u0661", "9" * 30, "", "twelve", "1 2", "+1"])


@st.composite
def mutated(draw: st.DrawFn, file: str) -> str:
    """The file with one thing wrong; no number becomes another that the kernel might have written there."""
    text = FILES[file].split("\n")
    at = draw(st.integers(0, len(text) - 1))
    kind = draw(st.sampled_from(["insert", "drop", "blank", "widen", "garble", "repeat", "cut"]))
    if kind == "insert":
        text.insert(at, draw(lines))
    elif kind == "drop":
        del text[at]
    elif kind == "blank":
        text[at] = draw(st.sampled_from(["", "  ", "\t"]))
    elif kind == "widen":
        text[at] += draw(st.sampled_from([" ", "\t"])) + draw(lines)
    elif kind == "garble":
        text[at] = re.sub(r"\d+", lambda _: draw(numbers), text[at], count=draw(st.integers(1, 3)))
    elif kind == "repeat":
        text.insert(at, re.sub(r"\d", "7", text[at]))
    else:
        whole = "\n".join(text)
        text = [whole[: draw(st.integers(0, len(whole)))]]
    return "\n".join(text)


def read(files: dict[str, str]) -> Sample:
    def text_of(file: str) -> str:
        return files[file]

    return read_sample("web", 1, text_of, read_machine(text_of))


RIGHT = read(FILES)


def sample_or_words(files: dict[str, str]) -> tuple[Sample | None, str]:
    try:
        return read(files), ""
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize("file", FILES)
@given(data=st.data())
def test_one_thing_wrong_in_a_file(file: str, data: st.DataObject) -> None:
    text = data.draw(mutated(file))
    sample, words = sample_or_words(FILES | {file: text})
    if sample is None:
        assert file in words
        assert re.search(r", line \d+: |: no \w+, though ", words)
        assert "\n" not in words
        return
    for field in {f for f in RIGHT.__dataclass_fields__ if f not in ("cgroup", "inode")}:
        value = getattr(sample, field)
        # A number that differs stands in a line of its key, or the kernel may lack the key.
        if value != getattr(RIGHT, field):
            key = str(RIGHT.__dataclass_fields__[field].metadata["file"]).rpartition(" ")[2]
            says = re.search(rf"(?m)^\s*{key}:?\s+{value / (1024 if 'meminfo' in file else 1):.0f}\b", text)
            assert says or (value == 0 and key in OPTIONAL and not re.search(rf"(?m)^\s*{key}\s", text))


OPTIONAL = ("workingset_activate_anon", "workingset_restore_anon", "zswpwb_proactive", "Zswap", "Zswapped")
"""Keys that some kernels with zswap do not have, or that nothing rests on; meminfo's two stand last in the
fixture, and cut off together they look like a kernel's without zswap."""


@pytest.mark.parametrize("key", [k for k in reading.STAT_FIELDS.values() if k not in OPTIONAL])
def test_a_key_of_memory_stat_that_is_gone_is_named(key: str) -> None:
    text = "".join(
        line for line in FILES["memory.stat"].splitlines(keepends=True) if not line.startswith(f"{key} ")
    )
    with pytest.raises(UserError, match=f"^web/memory.stat: no {key}, though "):
        read(FILES | {"memory.stat": text})


@pytest.mark.parametrize("key", reading.MEMINFO_FIELDS.values())
def test_a_line_of_meminfo_that_is_gone_is_named(key: str) -> None:
    text = "".join(
        line for line in FILES["/proc/meminfo"].splitlines(keepends=True) if not line.startswith(f"{key}:")
    )
    with pytest.raises(UserError, match=f"^/proc/meminfo: no {key}, though "):
        read(FILES | {"/proc/meminfo": text})


def test_a_kernel_without_zswap_has_none_of_its_keys() -> None:
    text = "".join(f"{line}\n" for line in FILES["memory.stat"].splitlines() if not line.startswith("zsw"))
    sample = read(FILES | {"memory.stat": text})
    assert (sample.zswap, sample.zswapped, sample.zswpwb, sample.anon) == (0, 0, 0, RIGHT.anon)


@pytest.mark.parametrize("file", [file for file in FILES if file[0] != "/"])
def test_a_cgroup_that_is_wrong_stops_no_other(tree: Path, file: str) -> None:
    (tree / "cgroup" / "web" / file).write_text("7 7 7")
    host = LinuxHost(tree / "cgroup", proc_root=tree / "proc", sys_root=tree / "sys", patterns=["web", "old"])
    assert [sample.cgroup for sample in host.sample()] == ["old"]
    (note,) = host.notes()
    assert note.startswith(f"web/{file}")


def test_a_setting_above_that_is_wrong_is_named(tree: Path) -> None:
    (tree / "cgroup" / "batch.slice" / "memory.max").write_text("lots\n")
    host = LinuxHost(
        tree / "cgroup", proc_root=tree / "proc", sys_root=tree / "sys", patterns=["*job1", "web"]
    )
    assert [sample.cgroup for sample in host.sample()] == ["web"]
    (note,) = host.notes()
    assert "batch.slice/memory.max, line 1: 'lots\\n' is not a number or max" in note
