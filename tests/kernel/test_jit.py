"""What the compiler front end promises beyond numba: selects without branches, fields that do not alias."""

from __future__ import annotations

import re
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.errors import NumbaError

from zswap_gym.kernel import jit
from zswap_gym.kernel.earliest import earliest
from zswap_gym.kernel.jit import entry
from zswap_gym.kernel.linking import EntryCompiler
from zswap_gym.kernel.memcg import drop_slot
from zswap_gym.kernel.stateref import state_ref

TIMES = st.integers(min_value=-(1 << 62), max_value=(1 << 62) - 1)


@entry
def _first_of(times, out):
    out[0] = earliest(times, 0, len(times))


@given(st.lists(TIMES, min_size=1, max_size=40))
def test_the_earliest_is_argmin(times: list[int]) -> None:
    out = np.zeros(1, np.int64)
    _first_of(np.array(times, np.int64), out)
    assert out[0] == times.index(min(times))


def code_of(function: Any) -> str:
    """Optimised LLVM code of an entry point without a file cache, which keeps none."""
    made = numba.njit(pipeline_class=EntryCompiler, **jit._OPTIONS)(function)
    made.compile("(uint64[::1], int64)")
    code: str = made.inspect_llvm(made.signatures[0])
    return code


def test_an_entry_point_keeps_its_parts_to_itself() -> None:
    """A part called twice is inlined, and no code of its own is left for outsiders."""

    def twice(block, p):
        state = state_ref(block)
        drop_slot(state, 0, p)
        drop_slot(state, 0, p + 1)

    defined = [line for line in code_of(twice).splitlines() if line.startswith("define")]
    assert defined
    assert not [line for line in defined if "drop_slot" in line]


def test_a_field_is_not_read_again_after_a_store_to_another() -> None:
    def read_store_read(block, p):
        state = state_ref(block)
        before = state.pages[p].when
        state.cgs[0].work = p
        return before + state.pages[p].when

    def read_store_same_read(block, p):
        state = state_ref(block)
        before = state.pages[p].when
        state.pages[0].when = p
        return before + state.pages[p].when

    def reads(function: Any) -> int:
        return len(re.findall(r"= load .*!tbaa", code_of(function)))

    assert reads(read_store_read) == 1
    assert reads(read_store_same_read) == 2  # p may be 0


def test_records_are_set_field_by_field_only() -> None:
    """The loads and stores of fields would know nothing of a store of the whole record."""

    def whole_record(block, p):
        state = state_ref(block)
        state.pages[0] = state.pages[p]

    with pytest.raises((NumbaError, NotImplementedError), match="field by field"):
        code_of(whole_record)
