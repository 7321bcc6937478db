"""What other tools recorded, read to the page; a wrong line is named."""

from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.errors import UserError
from zswap_gym.workloads.importers import import_text
from zswap_gym.workloads.recorder.mglru import cold_share, parse, watch
from zswap_gym.workloads.recording_file import save_recording
from zswap_gym.workloads.traces import load_trace

PLAIN = """\
# four pages at 0x1000, two more later
scan 0
alloc 0x1000 16384
scan 2.0
touch 0x2000 1
scan 4.0
alloc 0x9000 8192
touch 0x9000 4096       # one of the new ones
free 0x1000 4096
scan 6.0
size 0x2000 1800 1820 1300 1280
size 0x3000 0 0 0 0
"""

RAW_FORM = """\
base_time_absolute: 8 m 59.809 s

{snapshots}"""
SNAPSHOT = """\
monitoring_start:    {start}
monitoring_end:      {end}
monitoring_duration:       100.000 ms
target_id: 18446623438842320000
nr_regions: 3
563ebaa00000-563ebaa04000(  16.000 KiB):        {hot}
7f938d7e1000-7f938d7e3000(   8.000 KiB):        {warm}
7fff66b0a000-7fff66bb2000( 672.000 KiB):        0

"""


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "pages.txt"
        path.write_text(text)
        return path

    return _write


def test_the_plain_format(write, tmp_path):
    recorded = import_text(write(PLAIN))
    assert recorded.vpn.tolist() == [1, 2, 3, 4, 9, 10]
    assert recorded.times_s.tolist() == [0, 2, 4, 6]
    assert recorded.touched.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0],
    ]  # fmt: skip
    assert recorded.allocated.astype(int).tolist() == [
        [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1],
    ]  # fmt: skip
    trace = load_trace(save_recording(recorded, tmp_path / "plain.npz"))
    assert trace.measured_size.tolist() == [[1800, 1820, 1300, 1280], [0, 0, 0, 0]]
    assert trace.measured_kind.tolist() == [0, 1]
    assert np.array_equal(trace.touched(), recorded.touched)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("scan 1", "times must increase"),
        ("scan nan", "times must increase"),
        ("tuch 0x1000 1", "no statement"),
        ("touch 0x1000", "an address and a number of bytes"),
        ("touch here 1", "invalid literal"),
        ("touch -4096 1", "0 or more"),
        ("size 0x1000 nan 1 1 1", "invalid literal"),
        ("size 0x1000 99999 1 1 1", "at most 8192"),
    ],
)
def test_a_wrong_line_is_named(write, line, words):
    with pytest.raises(UserError, match=words) as caught:
        import_text(write(PLAIN + line))
    assert "line 13" in str(caught.value)


def test_what_comes_before_the_first_scan(write):
    with pytest.raises(UserError, match=r"line 1: .*must be a scan"):
        import_text(write("touch 0 1\n"))


def test_damo_raw_form(write):
    snapshots = "".join(
        SNAPSHOT.format(
            start=f"{k * 100}.000 ms" if k else "0 ns",
            end=f"{(k + 1) * 100}.000 ms" if k < 9 else f"{(k + 1) / 10:.3f} s",
            hot=2,
            warm=1 if k == 12 else 0,
        )
        for k in range(40)
    )
    recorded = import_text(write(RAW_FORM.format(snapshots=snapshots)), interval_s=1.0, contents="kv_zipf")
    assert len(recorded.vpn) == 4 + 2  # what was never accessed is left out
    assert recorded.times_s == pytest.approx(recorded.times_s[0] + np.arange(4), abs=0.01)
    assert recorded.touched[:, :4].all()
    assert recorded.touched[:, 4:].sum() == 2
    assert (recorded.sizes[2].max(axis=1) > 500).mean() > 0.9


def test_damo_times_with_minutes_and_raw_numbers(write):
    for ends in (
        ("59.900 s", "1 m 0.900 s", "1 m 1.900 s"),
        ("59,900,000,000", "60900000000", "61.9 s"),
    ):
        text = "".join(SNAPSHOT.format(start="0 ns", end=end, hot=1, warm=0) for end in ends)
        recorded = import_text(write(text), interval_s=0.5, contents="kv_zipf")
        assert recorded.times_s == pytest.approx([0, 1, 2])


def test_perf_script_of_damon(write):
    lines = [
        f"kdamond.0  4452 [000] {1000 + 0.1 * k:.6f}: damon:damon_aggregated: target_id=1844 nr_regions=2 "
        f"{4096 * first}-{4096 * (first + 2)}: {count} 3"
        for k in range(30)
        for first, count in ((100, 4), (200, 1 if k == 25 else 0))
    ]
    recorded = import_text(write("\n".join(lines)), interval_s=1.0, contents="kv_zipf")
    assert recorded.vpn.tolist() == [100, 101, 200, 201]
    assert recorded.touched[:, :2].all()
    assert recorded.touched[:, 2:].sum() == 2


def test_damon_without_sizes_asks_whose_to_use(write):
    text = "".join(SNAPSHOT.format(start="0 ns", end=f"{k}.000 s", hot=1, warm=0) for k in (1, 2, 3))
    with pytest.raises(UserError, match="--contents"):
        import_text(write(text), interval_s=0.5)
    with pytest.raises(UserError, match="too few"):
        import_text(write(text), interval_s=60, contents="kv_zipf")


# --- MGLRU's debugfs file ------------------------------------------------------------------------------

LRU_GEN = """\
memcg     1 /
 node     0
          0     812345        100         20
memcg    27 /system.slice/redis.service
 node     0
         12     120500       3000         10
         13      60200       1000          0
         14      10100       2000          5
         15         80      4000r          1
 node     1
         12     120500        -0         -0
"""


def test_ages_of_a_cgroup():
    memcg, found = parse(LRU_GEN, "/system.slice/redis.service")
    assert memcg == 27
    assert [(g.node, g.number, g.age_s, g.anon_pages) for g in found] == [
        (0, 12, 120.5, 3000), (0, 13, 60.2, 1000), (0, 14, 10.1, 2000), (0, 15, 0.08, 4000),
        (1, 12, 120.5, 0),
    ]  # fmt: skip
    assert cold_share(found, 60) == pytest.approx(0.4)
    assert cold_share(found, 120) == pytest.approx(0.3)
    with pytest.raises(UserError, match="no cgroup '/other'"):
        parse(LRU_GEN, "/other")


def test_watching_opens_a_generation_per_node_and_look(tmp_path):
    file = tmp_path / "lru_gen"
    file.write_text(LRU_GEN)
    written = []

    def sleep(_):
        written.append(file.read_text())
        file.write_text(LRU_GEN)
        if len(written) == 3:
            raise KeyboardInterrupt

    out = tmp_path / "ages.csv"
    cgroup = "/system.slice/redis.service"
    assert watch(cgroup, interval_s=1, duration_s=60, out=out, file=file, sleep=sleep) == 3
    assert all(text.startswith("+ 27 ") for text in written)
    lines = out.read_text().splitlines()
    assert lines[0] == "time_s,node,generation,age_s,anon_pages,file_pages"
    assert len(lines) == 1 + 3 * 5
