"""How compiled code sees a State: one pointer instead of two dozen arrays.

numba passes a tuple of arrays by value, 7 words an array at every call, and counts references
to each. That made calls cost more than the work in them (measured: 9x) and compiling last over
a minute. Here a State is flattened once into a block of addresses and shapes; compiled code
receives the block and ``st.pages`` reads the address, as ``m->pages`` would in C.

The block is only valid while the State's arrays live and are not reallocated: Machine keeps both.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing import arraydecl
from numba.core.typing.templates import AttributeTemplate, infer_getattr, infer_global
from numba.extending import (
    intrinsic,
    lower_builtin,
    lower_getattr_generic,
    lower_setattr_generic,
    models,
    register_model,
)
from numba.np import arrayobj, numpy_support

from zswap_gym.kernel import access, jobs, layout
from zswap_gym.kernel.host_record import HOST

_WORDS = 4  # of the block per array: address, up to three dimensions

_DTYPES: dict[str, tuple[Any, int]] = {
    "pages": (layout.PAGE, 1),
    "links": (layout.LINK, 1),
    "calendar": (layout.CALENDAR, 1),
    "on_list": (np.uint8, 1),
    "gen": (np.uint8, 1),
    "source_at": (np.int64, 1),
    "trace_at": (np.int32, 1),
    "owner": (np.uint16, 1),
    "cgs": (layout.CGROUP, 1),
    "lists": (layout.LIST, 1),
    "gen_count": (np.int64, 2),
    "stat": (np.int64, 2),
    "regions": (access.REGION, 1),
    "seg_time": (np.int64, 1),
    "seg_mult": (np.float64, 1),
    "seg_integral": (np.float64, 1),
    "first_touch": (np.int64, 1),
    "trace_offset": (np.int64, 1),
    "trace_time": (np.int64, 1),
    "trace_op": (np.uint8, 1),
    "frees": (access.FREE, 1),
    "wheel": (np.int32, 3),
    "heap": (np.int32, 1),
    "host": (HOST, 1),
    "jobs": (jobs.JOB, 1),
    "due": (np.int64, 1),
    "zclass": (layout.ZCLASS, 1),
    "zclass_of": (np.uint8, 1),
    "ring": (layout.RING, 1),
    "channels": (np.int64, 1),
    "threads": (np.int64, 2),
    "done": (jobs.DONE, 1),
    "scratch": (np.int32, 1),
    "stocks": (np.int64, 2),
    "batches": (np.int32, 3),
    "vmas": (layout.VMA, 1),
    "zspages": (layout.ZSPAGE, 1),
    "zspage_of": (np.int32, 1),
    "zgroups": (np.int32, 2),
    "tables": (np.uint8, 1),
    "slot_of": (np.int32, 1),
    "zram": (np.uint16, 1),
    "slot_page": (np.int32, 1),
}
assert tuple(_DTYPES) == layout.State._fields


def block(state: layout.State) -> npt.NDArray[np.uint64]:
    """Addresses and shapes of a State's arrays, for the compiled entry points."""
    words = np.zeros(len(state) * _WORDS, np.uint64)
    for i, (name, array) in enumerate(state._asdict().items()):
        dtype, ndim = _DTYPES[name]
        if array.dtype != np.dtype(dtype) or array.ndim != ndim or not array.flags.c_contiguous:
            raise TypeError(f"state array {name} must be contiguous {dtype} with {ndim} dimensions")
        words[i * _WORDS] = array.ctypes.data
        words[i * _WORDS + 1 : i * _WORDS + 1 + ndim] = array.shape
    return words


_CONSTANT = np.repeat([name in layout.CONSTANT for name in _DTYPES], _WORDS)
_SIZES = np.tile(np.arange(_WORDS) > 0, len(_DTYPES)) & ~_CONSTANT  # an address comes first


def same_sizes(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> bool:
    """Whether the changing arrays of two States are alike, so that one's contents fit into the other's."""
    return np.array_equal(a[_SIZES], b[_SIZES])


def with_constants(block: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """``block`` with the constant arrays of ``other``."""
    return np.where(_CONSTANT, other, block)


class StateRefType(types.Type):
    """The numba type of a State seen through its block."""

    def __init__(self) -> None:
        super().__init__(name="ZswapGymStateRef")


class StateArrayType(types.Array):
    """The numba type of one array of a State: an index is never negative, so none is looked at for it."""

    def __init__(self, dtype: Any, ndim: int) -> None:
        super().__init__(dtype, ndim, "C", name=f"ZswapGymStateArray({dtype}, {ndim})")


register_model(StateArrayType)(models.ArrayModel)


class StateRecordType(types.Record):
    """The numba type of one record of a State: a store to one field changes no other, and no other array.

    LLVM cannot know, and would read addresses and counters again after every store.
    """

    @classmethod
    def of(cls, record: types.Record) -> StateRecordType:
        """The same fields."""
        fields: Any = [(name, field._asdict()) for name, field in record.fields.items()]
        return cls(fields, record.size, record.aligned)


register_model(StateRecordType)(models.RecordModel)


@contextmanager
def _known_as(builder: Any, name: str) -> Iterator[None]:
    """Loads and stores made inside are of memory that no other name is given to (LLVM's TBAA)."""
    module, zero = builder.module, ir.Constant(ir.IntType(64), 0)
    root = module.add_metadata([ir.MetaDataString(module, "State")])
    kind = module.add_metadata([ir.MetaDataString(module, name), root, zero])
    made = len(builder.block.instructions)
    yield
    for instruction in builder.block.instructions[made:]:
        if isinstance(instruction, (ir.instructions.LoadInstr, ir.instructions.StoreInstr)):
            instruction.set_metadata("tbaa", module.add_metadata([kind, kind, zero]))


@lower_getattr_generic(StateRecordType)
def _get_field(context: Any, builder: Any, record: Any, value: Any, attr: str) -> Any:
    with _known_as(builder, f"{record.name}.{attr}"):  # a field that is an array is only pointed at
        return arrayobj.record_getattr(context, builder, record, value, attr)


@lower_setattr_generic(StateRecordType)
def _set_field(context: Any, builder: Any, signature: Any, args: Any, attr: str) -> None:
    with _known_as(builder, f"{signature.args[0].name}.{attr}"):
        arrayobj.record_setattr(context, builder, signature, args, attr)


def _element(dtype: Any) -> Any:
    kind = numpy_support.from_dtype(np.dtype(dtype))
    return StateRecordType.of(kind) if isinstance(kind, types.Record) else kind


STATE_REF = StateRefType()
TIMED = types.int64(STATE_REF, types.int64, types.int64, types.int64, types.boolean)
"""A unit's signature: state, two numbers, time and whether in a fault; returns the time to go on."""
_TYPES = {name: StateArrayType(_element(dtype), ndim) for name, (dtype, ndim) in _DTYPES.items()}
_INDEX = {name: i for i, name in enumerate(_DTYPES)}
_ITEMSIZE = {name: np.dtype(dtype).itemsize for name, (dtype, _) in _DTYPES.items()}


@register_model(StateRefType)
class _StateRefModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, ir.IntType(64).as_pointer())


@infer_getattr
class _StateRefAttributes(AttributeTemplate):
    key = StateRefType

    def generic_resolve(self, _typ: Any, attr: str) -> Any:  # type: ignore[override]
        return _TYPES.get(attr)


def _asked_first(usual: Any) -> Any:
    """Numba's typing of an item, asked for State arrays before those for lists, strings and others.

    That saves 1.5 s of a first compile.
    """

    class OfState(usual):  # type: ignore[misc]
        metadata = {"target": "cpu"}  # noqa: RUF012 - numba asks the most specific first

        def generic(self, args: Any, kws: Any) -> Any:
            return super().generic(args, kws) if isinstance(args[0], StateArrayType) else None

    return OfState


infer_global(operator.getitem)(_asked_first(arraydecl.GetItemBuffer))
infer_global(operator.setitem)(_asked_first(arraydecl.SetItemBuffer))


def _place(context: Any, builder: Any, kinds: Any, args: Any) -> Any:
    """Address of the item that an index, or a tuple of them, names in a state array."""
    array_type, index_type = kinds[:2]
    index_types, indices = [index_type], [args[1]]
    if isinstance(index_type, types.BaseTuple):
        index_types = [*index_type]  # type: ignore[misc] # numba's tuples are iterable, its stubs do not say so
        indices = cgutils.unpack_tuple(builder, args[1], count=len(index_types))
    if len(indices) != array_type.ndim:
        raise NotImplementedError("state arrays are indexed down to an item")
    indices = [context.cast(builder, i, t, types.intp) for i, t in zip(indices, index_types, strict=True)]
    view = context.make_array(array_type)(context, builder, args[0])
    return cgutils.get_item_pointer(context, builder, array_type, view, indices, wraparound=False)


@lower_builtin(operator.getitem, StateArrayType, types.Integer)
@lower_builtin(operator.getitem, StateArrayType, types.BaseTuple)
def _get(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    kind = signature.args[0]
    place = _place(context, builder, signature.args, args)
    with _known_as(builder, kind.name):  # a record is only pointed at
        return arrayobj.load_item(context, builder, kind, place)


@lower_builtin(operator.setitem, StateArrayType, types.Integer, types.Any)
@lower_builtin(operator.setitem, StateArrayType, types.BaseTuple, types.Any)
def _set(context: Any, builder: Any, signature: Any, args: Any) -> None:
    array_type, _, value_type = signature.args
    if isinstance(array_type.dtype, types.Record):
        raise NotImplementedError("records of a State are set field by field")
    value = context.cast(builder, args[2], value_type, array_type.dtype)
    place = _place(context, builder, signature.args, args)
    with _known_as(builder, array_type.name):
        arrayobj.store_item(context, builder, array_type, value, place)


@intrinsic
def state_ref(_typingctx: Any, words: Any) -> Any:
    """In an entry point: turn the block (uint64 array) into the state it describes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.bitcast(array.data, ir.IntType(64).as_pointer())

    return STATE_REF(words), codegen


@lower_getattr_generic(StateRefType)
def _lower_attribute(context: Any, builder: Any, _typ: Any, value: Any, attr: str) -> Any:
    """Build the array view from its address and shape; unused parts are optimised away."""
    array_type = _TYPES[attr]
    i64 = ir.IntType(64)

    def word(offset: int) -> Any:
        at = builder.gep(value, [ir.Constant(i64, _INDEX[attr] * _WORDS + offset)])
        load = builder.load(at)
        load.set_metadata("invariant.load", builder.module.add_metadata([]))
        return load

    array = context.make_array(array_type)(context, builder)
    data = builder.inttoptr(word(0), array.data.type)
    itemsize = _ITEMSIZE[attr]  # asking LLVM took 3 % of all compile time
    shape = [word(1 + d) for d in range(array_type.ndim)]
    strides = [ir.Constant(i64, itemsize)]
    for dim in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], dim))
    n_items = shape[0]
    for dim in shape[1:]:
        n_items = builder.mul(n_items, dim)
    array.data = data
    array.shape = cgutils.pack_array(builder, shape)
    array.strides = cgutils.pack_array(builder, strides)
    array.nitems = n_items
    array.itemsize = ir.Constant(i64, itemsize)
    array.meminfo = ir.Constant(array.meminfo.type, None)
    array.parent = ir.Constant(array.parent.type, None)
    return array._getvalue()  # noqa: SLF001 - numba's own way to build a struct
