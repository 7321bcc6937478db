"""A YAML file is a mapping of keys, each given once, or one line that says in which line it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from zswap_gym.errors import UserError
from zswap_gym.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: {c: 1,\n  c: 2}\n", "x.yaml: line 3: key 'c' is given twice; correct the YAML"),
        ("a:\n  - 2020-99-99\n", r"x.yaml: line 2: '2020-99-99' means nothing \(month must be"),
        ("a: !!int ''\n", "line 1: '' means nothing"),
        ("a: !!timestamp soon\n", "line 1: 'soon' means nothing"),
        ('a: "\\UFFFFFFFF"\n', "x.yaml: .*; correct the YAML"),
        ("[" * 100_000, "x.yaml: is nested too deeply"),
        ("? [a, b]\n: 1\n", "line 1: found unhashable key"),
        ("1: 2\n", "wanted a mapping of keys"),
        ("", "holds nothing, wanted a mapping of keys"),
    ],
)
def test_what_is_no_mapping_of_keys_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_yaml(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "x.yaml")


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("b: &b {k: 1, l: 1}\nx: {y: &a {<<: *b, k: 2}}\nz: {<<: *a}\n")
    assert read_yaml(tmp_path / "x.yaml")["x"] == {"y": {"k": 2, "l": 1}}
