"""The compiler front end: one `njit` for the whole core, with a cache that notices every change.

numba's file cache looks only at the file of the entry point, not at the callees it pulled in
from other files. So its folder is named by a hash of all kernel sources, numba's version and
the CPU: a changed callee means a new folder and a fresh compile.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from zswap_gym.kernel.linking import EntryCompiler, PartCompiler

_SOURCES = Path(__file__).parent


def model_digest() -> str:
    """16 hex digits over every kernel source file: the same on any machine."""
    return _sources().hexdigest()[:16]


def _sources() -> Any:
    digest = hashlib.sha256()
    for path in sorted(_SOURCES.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest


def source_digest() -> str:
    """Hex digest of every kernel source file, numba's version, and the CPU's name and features."""
    digest = _sources()
    cpu = f"{llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    digest.update(f"{numba.__version__} {cpu} {sys.version}".encode())
    return digest.hexdigest()[:20]


def _cache_dir() -> Path:
    """The cache folder: $ZSWAP_GYM_CACHE, else the user's cache, else a temporary folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("ZSWAP_GYM_CACHE") or home / "zswap-gym") / source_digest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(folder)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="zswap-gym-"))
    return folder


CACHE_DIR = _cache_dir()
numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]

# No reference counting: compiled code only views arrays that Python owns (see stateref.py).
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}

_PART: dict[str, Any] = {"pipeline_class": PartCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def _wide(kind: Any) -> Any:
    """The type a compiled function is compiled for: every integer but uint64 as int64."""
    kind = types.unliteral(kind)
    return types.int64 if isinstance(kind, types.Integer) and kind != types.uint64 else kind


def _internal(**options: Any) -> Any:
    """A decorator for functions only compiled code calls, compiled once whatever integers come in.

    Record fields are of many widths and constants are types of their own to numba: without this,
    one function in three was compiled up to 19 times, more than half of all compile time.
    """

    def decorate(function: Any) -> Any:
        dispatcher = numba.njit(**_PART, **_OPTIONS, **options)(function)
        resolve = dispatcher.get_call_template
        dispatcher.get_call_template = lambda args, kws: resolve(
            tuple(_wide(arg) for arg in args), {name: _wide(arg) for name, arg in kws.items()}
        )
        return dispatcher

    return decorate


entry = numba.njit(pipeline_class=EntryCompiler, cache=True, nogil=True, **_OPTIONS)
"""For the few functions Python calls."""
njit = _internal()
"""For mechanisms, called by other compiled code; a TypeError when Python does."""
inline = _internal(forceinline=True)
"""For the small steps of the hot path."""


@intrinsic
def prefetch(_typingctx: Any, array: Any, _index: Any) -> Any:
    """Ask the memory for ``array[index]`` ahead of its use; changes nothing but when it arrives."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        view = context.make_array(kind)(context, builder, args[0])
        at = cgutils.get_item_pointer(context, builder, kind, view, [args[1]], wraparound=False)
        byte, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        call = ir.FunctionType(ir.VoidType(), [byte, i32, i32, i32])
        function = cgutils.get_or_insert_function(builder.module, call, "llvm.prefetch.p0")
        write, keep, data = ir.Constant(i32, 1), ir.Constant(i32, 3), ir.Constant(i32, 1)
        builder.call(function, [builder.bitcast(at, byte), write, keep, data])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@intrinsic
def choose(_typingctx: Any, _condition: Any, _yes: Any, _no: Any) -> Any:
    """``yes if condition else no`` of int64 without a branch, where nobody could foresee the condition.

    LLVM makes branches of selects in loops, as most conditions are foreseen well; among threads or
    channels, which is free first is not, and each wrong guess costs as much as comparing ten.
    """

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        select = builder.select(*args)
        select.set_metadata("unpredictable", builder.module.add_metadata([]))
        return select

    return types.int64(types.boolean, types.int64, types.int64), codegen


@intrinsic
def below(_typingctx: Any, _a: Any, _b: Any) -> Any:
    """``a < b`` of int64 less than 2**63 apart, as a condition for `choose`.

    With a plain comparison LLVM recognises a minimum, and forgets that it is not to be a branch.
    """

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.icmp_signed("<", builder.sub(*args), ir.Constant(ir.IntType(64), 0))

    return types.boolean(types.int64, types.int64), codegen


@intrinsic
def rare(_typingctx: Any, condition: Any) -> Any:
    """A condition of whose truth LLVM is told that it is seldom: what hangs on it is moved out of the way.

    Kinds of machine few scenarios ask for, so that the common way through a fault is short in memory.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        truth = context.cast(builder, args[0], signature.args[0], types.boolean)
        bit = ir.IntType(1)
        expect = ir.FunctionType(bit, [bit, bit])
        function = cgutils.get_or_insert_function(builder.module, expect, "llvm.expect.i1")
        return builder.call(function, [truth, ir.Constant(bit, 0)])

    return types.boolean(condition), codegen


def announce_compile() -> None:
    """Say on stderr that a compile is coming, once per folder, so that nobody thinks it hangs."""
    if not any(CACHE_DIR.rglob("*.nbi")):
        print(
            "zswap-gym: compiling the kernel model; once per version, about half a minute",
            file=sys.stderr,
            flush=True,
        )
