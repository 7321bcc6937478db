"""Machine code only where Python enters: how the compiled parts of the core are put together.

numba compiles every function it meets to machine code of its own, although each is compiled again
as part of its callers. The core has some 250 functions and Python calls a dozen: half
of the first compile was spent on code nobody runs. Here a part (`njit` and `inline` of jit.py)
stays LLVM code, and an entry point links the parts it needs, optimises them together and makes
machine code once.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from numba.core import config, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager

_REFUSE = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value or 0
"""C function that sets a TypeError and returns null, as a refusing `PyCFunction` does."""

_INLINE = 2500
"""What LLVM takes for worth inlining; its default is 225. Steps of one page's way through reclaim
are called from few places and share much: 4 % faster, as long to compile."""

_NOT_NEEDED = {
    untyped_passes.WithLifting,
    untyped_passes.InlineClosureLikes,
    untyped_passes.RewriteSemanticConstants,
    untyped_passes.DeadBranchPrune,
    untyped_passes.RewriteDynamicRaises,
    untyped_passes.MakeFunctionToJitFunction,
    untyped_passes.InlineInlinables,
    untyped_passes.FindLiterallyCalls,
    untyped_passes.LiteralUnroll,
    untyped_passes.LiteralPropagationSubPipelinePass,
    typed_passes.InlineOverloads,
    typed_passes.NopythonRewrites,
    typed_passes.NoPythonSupportedFeatureValidation,
    typed_passes.DumpParforDiagnostics,
}
"""Passes for closures, exceptions, array expressions and literals: a tenth of all compile time."""


class PartLibrary(JITCodeLibrary):
    """The LLVM code of one function, to be linked into entry points and never run by itself."""

    def finalize(self) -> None:
        """Nothing to optimise or link yet: the entry point does both."""
        self._raise_if_finalized()
        self._finalized = True

    def get_pointer_to_function(self, _name: str) -> int:
        """What Python runs if it calls this function: a refusal, as there is no machine code."""
        self._ensure_finalized()
        return _REFUSE

    def functions(self) -> list[str]:
        """Names of the functions defined here."""
        return [f.name for f in self._final_module.functions if not f.is_declaration]

    def parts(self) -> list[Any]:
        """The libraries of the functions this one calls."""
        return list(self._linking_libraries)

    @property
    def codegen(self) -> PartLibrary:
        """Who is asked to `set_env`."""
        return self

    def set_env(self, _name: str, _env: Any) -> None:
        """An environment serves Python objects inside compiled code: the core has none."""


class EntryLibrary(JITCodeLibrary):
    """An entry point with all the parts it reaches."""

    def finalize(self) -> None:
        """Link the parts of the parts too, then optimise and make machine code as numba does."""
        seen: dict[int, Any] = {}
        waiting = list(reversed(self._linking_libraries))
        while waiting:
            library = waiting.pop()
            if id(library) not in seen:
                seen[id(library)] = library
                if isinstance(library, PartLibrary):
                    waiting.extend(reversed(library.parts()))
        self._linking_libraries = list(seen.values())
        parts = [library for library in seen.values() if isinstance(library, PartLibrary)]
        self._parts = {name for library in parts for name in library.functions()}
        super().finalize()

    def _optimize_final_module(self) -> None:
        """As numba does, but nobody outside sees a part: LLVM inlines it where it is called once."""
        for function in self._final_module.functions:
            if function.name in self._parts and not function.is_declaration:
                function.linkage = "internal"
        codegen = self._codegen
        if not hasattr(codegen, "_pass_builder"):  # numba before 0.62
            super()._optimize_final_module()
            return
        small, builder = codegen._module_pass_manager(loop_vectorize=False, opt=0, cost="cheap")  # noqa: SLF001
        small.run(self._final_module, builder)
        tuning = llvm.create_pipeline_tuning_options(int(config.OPT))  # type: ignore[attr-defined]
        tuning.inlining_threshold = _INLINE
        builder = llvm.create_pass_builder(codegen._tm, tuning)  # noqa: SLF001
        builder.getModulePassManager().run(self._final_module, builder)


def _pipeline(state: Any) -> Any:
    """Numba's passes less those for code the core does not have."""
    every = DefaultPassBuilder.define_nopython_pipeline(state)
    short = PassManager(every.pipeline_name)
    short.passes = [step for step in every.passes if step[0] not in _NOT_NEEDED]
    short.finalize()
    return short


@contextmanager
def _no_collection() -> Iterator[None]:
    """Compiling makes a million objects that stay: looking for garbage there took an eighth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compiler(name: str, library: type[JITCodeLibrary]) -> type[CompilerBase]:
    """A numba compiler that puts its code into ``library``."""

    def define_pipelines(self: Any) -> list[Any]:
        state = self.state
        state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return [_pipeline(state)]

    def _compile_core(self: Any) -> Any:
        with _no_collection():
            return CompilerBase._compile_core(self)  # noqa: SLF001

    return type(name, (CompilerBase,), {"define_pipelines": define_pipelines, "_compile_core": _compile_core})


PartCompiler = _compiler("PartCompiler", PartLibrary)
EntryCompiler = _compiler("EntryCompiler", EntryLibrary)
