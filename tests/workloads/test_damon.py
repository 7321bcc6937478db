"""What people have of DAMON: each text gives the memory, looks and shares in it, or says why not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zswap_gym.errors import UserError
from zswap_gym.units import PAGE_SIZE
from zswap_gym.workloads.importers import import_text

FILES = Path(__file__).parents[1] / "data" / "damon"
MIB = 1 << 20
A, B = 94489280512000, 94489281036288  # 512 KiB


def imported(path, **options):
    """(MiB, looks, share touched) and what was recognised."""
    recorded = import_text(path, contents="kv_zipf", **options)
    assert (np.diff(recorded.times_s) > 0).all()
    size = len(recorded.vpn) * PAGE_SIZE / MIB
    return (size, len(recorded.times_s), float(recorded.touched.mean())), recorded.meta


@pytest.fixture
def write(tmp_path):
    def _write(text):
        path = tmp_path / "damon.txt"
        path.write_text(text)
        return path

    return _write


# --- the four files of the table -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "found", "format_", "interval_s"),
    [
        ("damo-raw-form", (1.0, 6, 0.625), "damo's raw form", 5.0),
        ("damon-two-targets", (1.0, 6, 0.5), "DAMON events of perf script", 5.0),
        ("damon-every-5s", (1.0, 12, 0.5), "DAMON events of perf script", 5.0),
        ("damon-trace-cmd", (0.5, 8, 1.0), "DAMON events of trace-cmd report", 5.2),
    ],
)
def test_the_files_people_have(name, found, format_, interval_s):
    values, meta = imported(FILES / f"{name}.txt", interval_s=5.0)
    assert values == found
    assert meta["format"] == format_
    assert meta["interval_s"] == pytest.approx(interval_s)
    assert meta["missing"] == 0


def test_one_target_of_two():
    for target in "01":
        values, meta = imported(FILES / "damon-two-targets.txt", target=target)
        assert values == (0.5, 6, 0.5)
        assert meta["targets"] == [target]
    with pytest.raises(UserError, match=r"holds no target '2'; its targets are 0, 1"):
        imported(FILES / "damon-two-targets.txt", target="2")


# --- raw form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(")  ", "): "),  # until 2022
        lambda text: re.sub(r" \(", "(", text).replace(")  ", "):\t"),
        lambda text: re.sub(r"^#.*\n", "", text, flags=re.MULTILINE),
        lambda text: text.replace("age\n", "age probe_hits\n"),
        lambda text: text.replace("256.000 KiB", "262144 B").replace("768.000 KiB", "0.001 GiB"),
        lambda text: text.replace("256.000 KiB", "262,144"),
        lambda text: text.replace("7f00", "0x7f00"),
        lambda text: text.replace("7f00", "7F00"),
        lambda text: re.sub(r"base_time.*\n", "", text),
        lambda text: re.sub(r"target_id.*\n", "", text),
        lambda text: re.sub(r"monitoring_end.*\n", "", text),
        lambda text: re.sub(r"monitoring_(start|duration).*\n", "", text),
        lambda text: text.replace("\n", "\r\n"),
    ],
)
def test_other_forms_of_the_raw_form(write, change):
    before = (FILES / "damo-raw-form.txt").read_text()
    after = change(before)
    assert after != before
    assert imported(write(after))[0] == (1.0, 6, 0.625)


def test_what_damo_printed_first(write):
    text = "start_time:  193485829398\n"
    for k in range(4):
        text += f"rel time: {k * 5_000_000_000:16d}\nnr_tasks:  2\n"
        for target in range(2):
            text += f"target_id:  {target}\nnr_regions:  1\n"
            text += f"560189609000-560189689000(    524288):  {int(k % 2 == target)}\n"
        text += "\n"
    assert imported(write(text))[0] == (1.0, 4, 0.5)


def raw_record(target, accesses, base="2 h 3 m 4.500 s"):
    text = f"base_time_absolute: {base}\n\n" if base else ""
    for k, count in enumerate(accesses):
        text += f"monitoring_start: {5 * k}.000 s\nmonitoring_end: {5 * k + 5}.000 s\n"
        text += f"monitoring_duration: 5.000 s\ntarget_id: {target}\nnr_regions: 1\n"
        text += f"7f0000000000-7f0000080000 ( 512.000 KiB) {count:11d}     0\n\n"
    return text


@pytest.mark.parametrize("base", ["2 h 3 m 4.500 s", "7,384,500,000,000", None])
@pytest.mark.parametrize("second", [1, 0])
def test_raw_records_begin_at_0_again(write, base, second):
    """Also where both have the same id, as targets of two kdamonds have."""
    path = write(raw_record(0, [3, 0] * 3, base) + raw_record(second, [0, 3] * 3, base))
    values, meta = imported(path)
    assert values == (1.0, 6, 0.5)
    assert meta["targets"] == (["0", "1"] if second else ["0/0", "0/1"])
    assert imported(path, target=meta["targets"][1])[0] == (0.5, 6, 0.5)


def test_raw_records_one_after_the_other_are_of_one_target(write):
    text = raw_record(0, [3, 0, 3], "100 s") + raw_record(0, [0, 3, 0], "115 s")
    assert imported(write(text))[0] == (0.5, 6, 0.5)


def test_a_target_that_starts_later(write):
    text = raw_record(0, [1] * 6, "100 s") + raw_record(1, [1] * 3, "115.001 s")
    values, _ = imported(write(text))
    assert values == (1.0, 6, pytest.approx((6 + 3) / 12))


# --- events --------------------------------------------------------------------------------------------

EVENT = "{head}{time:.6f}: {name}: target_id={target} nr_regions={n} {first}-{end}: {accesses} 1{more}\n"


def events(
    times, *, head="  kdamond.0 77 [001] ", name="damon:damon_aggregated", targets=1, form="d", more=""
):
    """Two regions of 512 KiB for each target and time, touched in turns."""
    return "".join(
        EVENT.format(
            head=head, time=time, name=name, target=target, n=2,
            first=format(start, form), end=format(start + B - A, form),
            accesses=int((k + part + target) % 2 == 0), more=more,
        )
        for k, time in enumerate(times)
        for target in range(targets)
        for part, start in enumerate((A, B))
    )  # fmt: skip


STEADY = [1000 + 5.0 * k for k in range(12)]


@pytest.mark.parametrize(
    ("options", "format_"),
    [
        ({}, "perf script"),
        ({"head": "kthreadd  6497 [031]  "}, "perf script"),
        ({"head": "   kdamond.0  4452/4452  [000] "}, "perf script"),
        ({"head": "   kdamond.0  4452 "}, "perf script"),
        ({"head": " "}, "perf script"),
        ({"name": "damon:damon_region_aggregated", "more": " probe_hits=13 00"}, "perf script"),
        ({"head": "  kdamond.0-4452  [000]   ", "name": "damon_aggregated"}, "trace-cmd report"),
        ({"head": "  kdamond.0-4452  [000] d..1. ", "name": "damon_aggregated"}, "trace-cmd report"),
        ({"head": "  kdamond.0-4452 (  4452) [000] ..... ", "name": "damon_aggregated"}, "trace-cmd report"),
        ({"head": "  kdamond.0-4452  [000] ..... ", "name": "damon_region_aggregated"}, "trace-cmd report"),
        ({"form": "x"}, "perf script"),
        ({"form": "#x"}, "perf script"),
    ],
)
def test_every_printer_of_events(write, options, format_):
    values, meta = imported(write("cpus=4\n" + events(STEADY, **options)))
    assert values == (1.0, 12, 0.5)
    assert meta["format"] == f"DAMON events of {format_}"


def test_tracefs_has_a_header(write):
    head = (
        "# tracer: nop\n#\n# entries-in-buffer/entries-written: 24/24   #P:4\n#           TASK-PID     CPU#\n"
    )
    text = events(STEADY, head="  kdamond.0-78459   [015] ..... ", name="damon_aggregated")
    values, meta = imported(write(head + text))
    assert values == (1.0, 12, 0.5)
    assert meta["format"] == "DAMON events of tracefs"


def test_events_without_age(write):
    text = events(STEADY).replace(" 1\n", "\n")
    assert imported(write(text))[0] == (1.0, 12, 0.5)


@given(st.lists(st.floats(-0.4, 0.4), min_size=12, max_size=40), st.sampled_from([0.1, 1.0, 5.0, 5.2, 60.0]))
def test_a_spacing_that_jitters_around_the_interval_is_the_interval(tmp_path_factory, jitter, spacing):
    path = tmp_path_factory.mktemp("jitter") / "damon.txt"
    path.write_text(events([1000 + spacing * (k + one * 0.5) for k, one in enumerate(jitter)]))
    assert imported(path, interval_s=spacing)[0] == (1.0, len(jitter), 0.5)


@pytest.mark.parametrize(("spacing", "looks"), [(0.1, 6), (0.2, 6), (1.0, 6), (1.01, 6), (2.5, 6), (4.0, 8)])
def test_snapshots_more_often_are_joined_to_the_nearest_number(write, spacing, looks):
    times = 1000 + np.arange(round(32 / spacing)) * spacing
    (_, found, _), meta = imported(write(events(times)), interval_s=5.0)
    assert found in (looks, looks + 1)
    assert meta["interval_s"] == pytest.approx(spacing * round(5 / spacing))


def test_two_targets_of_many_regions_are_not_mixed(write):
    values, meta = imported(write(events(STEADY, targets=2)))
    assert values == (2.0, 12, 0.5)
    assert meta["targets"] == ["0", "1"]


def test_two_kdamonds_out_of_step_with_the_same_target_id(write):
    one, two = events(STEADY), events([t + 2.5 for t in STEADY], head="  kdamond.1 78 [002] ")
    values, meta = imported(write(one + two))
    assert values == (2.0, 12, 0.5)
    assert meta["targets"] == ["0/0", "0/1"]


def test_a_kdamond_started_again_goes_on_with_its_target(write):
    text = events(STEADY[:6]) + events(STEADY[6:], head="  kdamond.0 99 [002] ")
    values, meta = imported(write(text))
    assert values == (1.0, 12, 0.5)
    assert meta["targets"] == ["0"]


def test_snapshots_that_were_lost(write):
    """A look with nothing in it would say that nothing was touched."""
    times = [t for k, t in enumerate(STEADY) if k not in (3, 4, 8)]
    (_, looks, share), meta = imported(write(events(times)))
    assert (looks, share) == (9, 0.5)
    assert meta["interval_s"] == pytest.approx(5.0)
    both = events(STEADY) + events(times, head=" kdamond.1 78 [002] ")
    (size, looks, share), _ = imported(write(both))
    assert (size, looks) == (2.0, 12)
    assert share == pytest.approx((12 + 9) / 48)


def test_regions_that_were_lost_are_counted(write):
    lines = events(STEADY).splitlines(keepends=True)
    del lines[5], lines[10]
    assert imported(write("".join(lines)))[1]["missing"] == 2


# --- what is not understood ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "heatmap 0 1 2\n",
            r"line 1: 'heatmap 0 1 2': this format is not understood; those that are: damo rep",
        ),
        ("[\n    {\n", "this format is not understood"),
        ("# only a comment\n", "holds nothing; formats understood"),
        ("", "holds nothing"),
        ("2452.789 kdamond.0/2149 damon:damon_aggregated(target_id=0 nr_regions=11 1-2: 0 600)\n", "line 1"),
        (
            events(STEADY) + "  kdamond.0 77 [001] 1060.0: damon:damon_aggregated: target_id=0 nr_reg\n",
            "line 25",
        ),
        (events(STEADY).replace(f"{A}-", f"{B + 1}-", 1), "line 1: a region from"),
        (events(STEADY).replace(f"{A}-", "9" * 40 + "-", 1), "line 1: .* is no region"),
        (events(STEADY).replace("1000.000000", "1" * 400 + ".0", 1), "line 1: .* is no region"),
        (raw_record(0, [1] * 4).replace("( 512.000 KiB)", "512", 1), r"line 8: .* is no region"),
        (raw_record(0, [1] * 4).replace("5.000 s", "5.000 weeks", 1), "line 4: '5.000 weeks' is not a time"),
        (raw_record(0, [1] * 4).replace("5.000 s", "inf s", 1), "line 4: 'inf s' is not a time"),
        (raw_record(0, [1] * 4).replace("5.000 s", "", 1), "line 4: '' is not a time"),
        (
            "7f0000000000-7f0000080000 ( 512.000 KiB) 1 0\n" + raw_record(0, [1] * 4),
            "line 1: a snapshot before any time",
        ),
        ("monitoring_duration: 5.000 s\n" + raw_record(0, [1] * 4), "line 1: a snapshot before any time"),
        (events(STEADY[:2]), "DAMON events of perf script: 2 intervals are too few"),
        (events(STEADY).replace(": 1 1\n", ": 0 1\n"), "nothing in it was accessed"),
    ],
)
def test_what_cannot_be_read_is_said(write, text, words):
    with pytest.raises(UserError, match=words):
        imported(write(text))


def test_the_plain_format_has_no_targets(write):
    with pytest.raises(UserError, match="--target 1: the plain format has no targets"):
        imported(write("scan 0\n"), target="1")
