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
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba.core import cgutils, sigutils, types
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


def _own_folder(folder: Path) -> bool:
    """Whether it can be made or is there, ours, and can be written to: code is loaded from it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder.stat().st_uid == os.geteuid() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False


def _cache_dir() -> tuple[Path, str]:
    """The cache folder, and what is to be said about it.

    $ZSWAP_GYM_CACHE, else the user's cache; where that is another's or cannot be written to, a folder among
    the temporary ones that the next process finds again.
    """
    asked, home = os.environ.get("ZSWAP_GYM_CACHE"), os.environ.get("XDG_CACHE_HOME")
    wanted = Path(asked) if asked else (Path(home) if home else Path("~/.cache").expanduser()) / "zswap-gym"
    instead = Path(tempfile.gettempdir()) / f"zswap-gym-{os.geteuid()}"
    digest = source_digest()
    if _own_folder(wanted / digest):
        return wanted / digest, ""
    if not (_own_folder(instead) and _own_folder(instead / digest)):
        instead = Path(tempfile.mkdtemp(prefix="zswap-gym-"))
        _own_folder(instead / digest)
    return instead / digest, f"{wanted} is read-only or somebody else's; compiled code is kept in {instead}"


CACHE_DIR, CACHE_NOTE = _cache_dir()
numba.config.CACHE_DIR = str(CACHE_DIR)  # type: ignore[attr-defined]

# No reference counting: compiled code only views arrays that Python owns (see stateref.py).
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}

_PART: dict[str, Any] = {"pipeline_class": PartCompiler, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}


class Ahead(NamedTuple):
    """What is compiled before anybody calls it."""

    dispatcher: Any
    types: tuple[Any, ...]
    module: str
    """Which to import to have it."""
    symbol: str = ""
    """By which entry points call it, if it is a unit."""
    seldom: bool = False
    """Not every machine needs it: compiled when asked for or called."""

    @property
    def name(self) -> str:
        """Of the function, with its module."""
        function = self.dispatcher.py_func
        return f"{function.__module__}.{function.__qualname__}"


AHEAD: list[Ahead] = []
"""Everything imported so far that is compiled ahead, in the order of definition."""


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


def entry_for(signature: str, module: str = "", *, seldom: bool = False) -> Any:
    """An `entry` that is compiled ahead (ahead.py) for arguments of these types, as numba writes them.

    ``module``: which to import to have it, if not the function's. ``seldom``: as of `Ahead`.
    """

    def decorate(function: Any) -> Any:
        dispatcher = entry(function)
        types, _ = sigutils.normalize_signature(signature)
        AHEAD.append(Ahead(dispatcher, types, module or function.__module__, seldom=seldom))
        return dispatcher

    return decorate


def unit(signature: Any) -> Any:
    """For a part with machine code of its own, which entry points call by its name.

    The core is one entry point with nearly everything in it, and one process compiles an entry point: cut
    in two where calls are few, two processes share the work.
    """

    def decorate(function: Any) -> Any:
        kind = {**_PART, "pipeline_class": EntryCompiler}
        dispatcher = numba.njit(cache=True, **kind, **_OPTIONS)(function)
        made = Ahead(dispatcher, signature.args, function.__module__, f"zswap_gym.{function.__name__}")
        AHEAD.append(made)
        return _called_by_name(made.symbol, signature)

    return decorate


njit = _internal()
"""For mechanisms, called by other compiled code; a TypeError when Python does."""
inline = _internal(forceinline=True)
"""For the small steps of the hot path."""


def _called_by_name(symbol: str, declared: Any) -> Any:
    """What compiled code calls for a unit: the linker knows where its machine code lies."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        convention = context.call_conv
        kind = convention.get_function_type(declared.return_type, declared.args)
        function = cgutils.get_or_insert_function(builder.module, kind, symbol)
        values = zip(cgutils.unpack_tuple(builder, args[0]), signature.args[0], declared.args, strict=True)
        cast = [context.cast(builder, value, given, wanted) for value, given, wanted in values]
        _, result = convention.call_function(builder, function, declared.return_type, declared.args, cast)
        return result  # nothing in the core raises

    def typing(_typingctx: Any, *args: Any) -> Any:
        return declared.return_type(types.StarArgTuple(tuple(map(types.unliteral, args)))), codegen

    return intrinsic(typing)


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
