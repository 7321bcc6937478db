from __future__ import annotations

import json

import numpy as np
import pytest

from zswap_gym.errors import UserError
from zswap_gym.workloads.traces import (
    CLASS_HOT,
    CLASS_NEVER,
    DATA,
    HOT_SHARE,
    REQUIRED,
    load_trace,
    trace_names,
)


def bitmaps_of(path):
    """An independent decoding: straight from the file format's description."""
    with np.load(path) as z:
        n = json.loads(str(z["meta"]))["n_pages"]
        touched = np.unpackbits(z["touched"], axis=1)[:, :n].astype(bool)
        change = np.unpackbits(z["alloc_change"], axis=1)[:, :n]
        return touched, np.bitwise_xor.accumulate(change, axis=0).astype(bool)


def test_all_recordings_are_shipped():
    assert len(trace_names()) == 13
    assert "redis_zipf" in trace_names()


@pytest.mark.parametrize("name", ["node_svc", "sidecar", "gcc_cc1"])
def test_bitmaps_are_those_of_the_file(name):
    trace = load_trace(name)
    touched, allocated = bitmaps_of(DATA / f"{name}.npz")
    assert np.array_equal(trace.touched(), touched)
    assert np.array_equal(trace.allocated(), allocated)
    assert trace.name == name
    assert trace.kernel.startswith("6.18")


def test_spans_and_pages_are_those_of_the_provenance_table():
    text = (DATA / "PROVENANCE.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.count("|") == 7][2:]
    assert sorted(row[0].strip() for row in rows) == trace_names()
    for name, _, _, interval, span, pages in ([cell.strip() for cell in row] for row in rows):
        trace = load_trace(name)
        assert round(trace.span_s) == int(span)
        assert trace.n_pages == int(pages.replace(",", ""))
        assert float(np.median(np.diff(trace.times_us))) == pytest.approx(float(interval) * 1e6, rel=0.01)


def test_touched_share_and_class_count_scans_alive(arrays, save):
    trace = load_trace(save(arrays))
    touched, allocated = trace.touched(), trace.allocated()
    share = touched.sum(0) / np.maximum(allocated.sum(0), 1)
    assert np.allclose(trace.touched_share(), share)
    assert (trace.page_class()[:20] == CLASS_NEVER).all()
    assert ((trace.page_class() == CLASS_HOT) == (share > HOT_SHARE)).all()


def test_a_measured_page_is_listed_once_and_strangers_are_kept(arrays, save):
    arrays["comp2_vpn"] = np.array([1000, 1001, 7], np.uint64)
    arrays["comp2_kind"] = np.array([0, 0, 1], np.uint8)
    arrays["comp2_size"] = np.full((3, 4), 77, np.uint16)
    trace = load_trace(save(arrays))
    assert len(trace.measured_page) == 301
    assert trace.measured_page[-1] == -1
    assert trace.measured_size[trace.measured_page == 0].tolist() == [[1000] * 4]


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match=r"'redis_zip': no such recording \(did you mean 'redis_zipf'\?\)"):
        load_trace("redis_zip")


def test_a_changed_file_is_read_again(arrays, save):
    path = save(arrays)
    assert load_trace(path) is load_trace(path)
    arrays["meta"] = arrays["meta"].replace("tiny", "other-name")
    save(arrays)
    assert load_trace(path).name == "other-name"


def refused(path, *words):
    with pytest.raises(UserError) as caught:
        load_trace(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("keep", [0, 10, 400, -30])
def test_a_truncated_file_is_refused(arrays, save, keep):
    path = save(arrays)
    path.write_bytes(path.read_bytes()[:keep])
    refused(path, "damaged")


@pytest.mark.parametrize("name", ["redis_zipf", "sidecar"])
def test_a_recording_with_a_flipped_byte_is_refused(tmp_path, name):
    content = bytearray((DATA / f"{name}.npz").read_bytes())
    content[len(content) // 2] ^= 0x55
    path = tmp_path / "flipped.npz"
    path.write_bytes(bytes(content))
    refused(path, "damaged")


def test_a_compression_nobody_knows_is_refused(tmp_path):
    """The method stands at byte 8 of a file's header and at byte 10 of its entry in the directory."""
    content = bytearray((DATA / "sidecar.npz").read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + at] = 97
    path = tmp_path / "other.npz"
    path.write_bytes(bytes(content))
    refused(path, "compression method is not supported")


def test_other_files_are_refused(tmp_path):
    array = tmp_path / "array.npy"
    np.save(array, np.zeros(3))
    refused(array)
    text = tmp_path / "text.npz"
    text.write_text("hello")
    refused(text)
    refused(tmp_path)


def test_pickles_are_not_opened(arrays, save):
    arrays["touched"] = np.array([{"a": 1}], dtype=object)
    refused(save(arrays))


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_array_is_named(arrays, save, key):
    del arrays[key]
    refused(save(arrays), key, "missing")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("times", np.array([0.0, np.nan] + [3.0] * 10), "not a number"),
        ("times", np.zeros(12), "increase"),
        ("times", np.zeros(1), "two scan times"),
        ("times", np.zeros((12, 1)), "shape"),
        ("touched", np.zeros((12, 5), np.uint8), "wanted uint8"),
        ("touched", np.zeros((12, 38), np.int32), "wanted uint8"),
        ("touched", np.full((12, 38), 255, np.uint8), "not allocated"),
        ("alloc_change", np.zeros((11, 38), np.uint8), "wanted uint8"),
        ("vpn_delta", np.zeros(300, np.uint64), "positive steps"),
        ("vpn_delta", np.ones(299, np.uint64), "n_pages"),
        ("vpn_delta", np.ones(300), "positive steps"),
        ("meta", "not json", "JSON"),
        ("meta", '{"name": "x"}', "n_pages"),
        ("comp_size", np.zeros((300, 3), np.uint16), "shapes"),
        ("comp_size", np.full((300, 4), np.nan), "whole numbers"),
        ("comp_kind", np.full(300, 9, np.uint8), "kinds 0 to 2"),
    ],
)
def test_a_wrong_array_is_named(arrays, save, key, value, word):
    arrays[key] = value
    refused(save(arrays), word)
