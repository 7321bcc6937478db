"""Laws by name: what is read, and what is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from zswap_gym.errors import UserError
from zswap_gym.policy.laws import LAWS, make_law


@pytest.mark.parametrize("name", LAWS)
def test_every_law_is_made_by_its_name(name: str) -> None:
    for spec in (name, f" {name}() ", {"law": name}):
        assert type(make_law(spec)) is LAWS[name]


@pytest.mark.parametrize(
    "spec",
    [
        "fixed_age(age_s=90,max_bytes=2M)",
        " fixed_age ( age_s = 90 , max_bytes = 2M ) ",
        "fixed_age(max_bytes=2097152,age_s=1.5m,)",
        {"law": "fixed_age", "age_s": 90, "max_bytes": "2M"},
        {"law": "fixed_age", "age_s": "90s", "max_bytes": 2 << 20},
    ],
)
def test_parameters_are_read(spec: Any) -> None:
    law: Any = make_law(spec)
    assert law.age_s == 90.0
    assert law.max_bytes == 2 << 20


def test_the_mapping_is_left_as_it_was() -> None:
    spec = {"law": "fixed_age", "age_s": 90}
    make_law(spec)
    assert spec == {"law": "fixed_age", "age_s": 90}


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("fixed_agee", ["'fixed_agee'", "did you mean 'fixed_age'", "aimd"]),
        ({"law": "amd"}, ["'amd'", "did you mean 'aimd'"]),
        ("fixed_age(age=3)", ["fixed_age", "'age'", "did you mean 'age_s'"]),
        ({"law": "tmo", "treshold": 3}, ["tmo", "'treshold'", "did you mean 'psi_threshold'"]),
        ("never(age_s=3)", ["never", "'age_s'", "takes none"]),
        ("fixed_age(age_s=soon)", ["fixed_age", "'soon'", "30s"]),
        ("fixed_age(max_bytes=8Q)", ["fixed_age", "'8Q'", "8M"]),
        ("fixed_age(60)", ["'60'", "key=value"]),
        ("fixed_age(age_s=1,age_s=2)", ["age_s", "twice"]),
        ("fixed_age(age_s=3", ["NAME(key=value,...)"]),
        ("fixed_age age_s=3", ["NAME(key=value,...)"]),
        ("", ["NAME(key=value,...)"]),
        ({"age_s": 3}, ["has no name", "aimd"]),
        ({}, ["has no name"]),
    ],
)
def test_mistakes_are_told_in_one_line_with_the_nearest_name(spec: Any, says: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        make_law(spec)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("law")
    assert [word for word in says if word not in text] == []


@pytest.mark.parametrize(
    "spec",
    [
        "fixed_age(age_s=nan)",
        "fixed_age(age_s=-5)",
        "fixed_age(max_bytes=-4096)",
        "fixed_age(age_s)",
        "tmo(psi_threshold=0)",
        "tmo(ratio=inf)",
        {"law": "fixed_age", "age_s": None},
        {"law": "tmo", "ratio": True},
        {"law": "fixed_age", "max_bytes": [1]},
        {"law": 7},
    ],
    ids=repr,
)
def test_numbers_that_make_no_sense_are_refused(spec: Any) -> None:
    with pytest.raises(UserError, match=r"^law") as caught:
        make_law(spec)
    assert "\n" not in str(caught.value)
