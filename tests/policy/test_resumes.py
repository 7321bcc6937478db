from __future__ import annotations

import numpy as np
import pytest

from zswap_gym.errors import UserError
from zswap_gym.policy.resumes import GIB, ResumePromise, resumes


def test_quantiles_density_and_the_promise():
    waits = [*np.linspace(0.2, 0.4, 99), 3.0]
    found = resumes(waits, 6, 2.0 * GIB)
    assert found.count == 100
    assert found.p50_ms == pytest.approx(301, abs=3)
    assert found.p99_ms == pytest.approx(3000)
    assert found.kept  # 99 of 100 within a second
    assert found.per_gib == 3.0
    broken = resumes([*waits, 2.0], 6, 2.0 * GIB)
    assert not broken.kept
    assert broken.per_gib == 0.0
    assert resumes(waits, 6, 2.0 * GIB, ResumePromise(resume_ms=100)).per_gib == 0.0


def test_no_resume_breaks_nothing():
    none = resumes([], 4, GIB)
    assert none.kept
    assert none.per_gib == 4.0
    assert np.isnan(none.p99_ms)


@pytest.mark.parametrize("given", [{"resume_ms": 0.0}, {"share": 1.5}, {"share": float("nan")}])
def test_a_promise_that_cannot_be(given):
    with pytest.raises(UserError, match="resume promise"):
        ResumePromise(**given)
