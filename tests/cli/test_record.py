"""``zswap-gym record`` and ``import``: refusals in one line, and a recording that goes on to advise."""

from __future__ import annotations

from pathlib import Path

import pytest

DAMON = Path(__file__).parents[1] / "data" / "damon"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("record",), "name a PID, or a cgroup"),
        (("record", "1", "--cgroup", "/x"), "one of the two"),
        (("record", "4194305"), "no such process"),
        (("record", "0"), "above 0"),
        (("record", "2", "--duration", "soon"), "'soon' is not a duration"),
        (("record", "--cgroup", "/nowhere"), "is no cgroup"),
        (("record", "1", "--method", "mglru"), "sees cgroups"),
        (("import", "nowhere.txt"), "nowhere.txt: cannot be read"),
        (("advise", "4194305"), "no such process"),
    ],
)
def test_bad_input(cli, tmp_path, args, words):
    status, out, err = cli(*args)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_an_import_goes_on_to_advise(cli, tmp_path):
    lines = ["scan 0", "alloc 0x100000 4194304"]
    for k in range(1, 40):
        lines += [f"touch 0x100000 {4096 * 64}", f"touch {0x200000 + 4096 * 16 * k} 65536", f"scan {5 * k}"]
    lines += [f"size {0x100000 + 4096 * k} 1800 1850 1300 1280" for k in range(64)]
    (tmp_path / "pages.txt").write_text("\n".join(lines))
    status, out, _ = cli("import", "pages.txt")
    assert status == 0
    assert "zswap-gym advise pages.npz" in out
    status, out, _ = cli("advise", "pages.npz", "--ages", "20,60", "--budgets", "512K")
    assert status == 0
    assert "Largest age this workload supports: 98 s" in out


def test_an_import_does_not_overwrite_what_it_reads(cli, tmp_path):
    text = "scan 5\nalloc 0x1000 4096\n"
    (tmp_path / "pages.txt").write_text(text)
    (tmp_path / "link").symlink_to("pages.txt")
    for target in ("pages.txt", "./pages.txt", "link"):
        status, out, err = cli("import", "pages.txt", "-o", target)
        assert (status, out) == (2, "")
        assert "is what is read, and would be overwritten; name another file" in err
    assert (tmp_path / "pages.txt").read_text() == text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("damo-raw-form", "damo's raw form, target 0, 6 snapshots"),
        ("damon-two-targets", "DAMON events of perf script, targets 0, 1 side by side, 12 snapshots"),
    ],
)
def test_an_import_says_first_what_it_recognised(cli, tmp_path, name, said):
    (tmp_path / "damon.txt").write_text((DAMON / f"{name}.txt").read_text())
    status, out, _ = cli("import", "damon.txt", "--contents", "kv_zipf")
    assert (status, out.splitlines()[0]) == (0, f"damon.txt: {said} 5 s apart, intervals of 5 s")


def test_an_import_says_what_is_missing(cli, tmp_path):
    lines = (DAMON / "damo-raw-form.txt").read_text().splitlines(keepends=True)
    (tmp_path / "damon.txt").write_text("".join(lines[:-2]))  # without the last region
    status, out, _ = cli("import", "damon.txt", "--contents", "kv_zipf")
    assert status == 0
    assert out.splitlines()[0].endswith(
        "intervals of 5 s; 1 of the regions it announces are missing and count as not accessed"
    )


def test_an_import_of_the_plain_format_says_so(cli, tmp_path):
    (tmp_path / "plain.txt").write_text("scan 0\ntouch 0 4096\nscan 2\nscan 4\n")
    status, out, _ = cli("import", "plain.txt", "--contents", "kv_zipf")
    assert (status, out.splitlines()[0]) == (0, "plain.txt: the plain format, intervals of 2 s")
