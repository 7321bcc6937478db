"""Machine code only where Python enters: how the compiled parts of the core are put together.

numba compiles every function it meets to machine code of its own, although each is compiled again
as part of its callers. The core has some 250 functions and Python calls a dozen: half
of the first compile was spent on code nobody runs. Here a part (`njit` and `inline` of jit.py)
stays LLVM code, and an entry point links the parts it needs, optimises them together and makes
machine code once.
"""

from __future__ import annotations

import ctypes
from typing import Any

from numba.core import typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager

_REFUSE = ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value or 0
"""C function that sets a TypeError and returns null, as a refusing `PyCFunction` does."""

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
        super().finalize()


def _pipeline(state: Any) -> Any:
    """Numba's passes less those for code the core does not have."""
    every = DefaultPassBuilder.define_nopython_pipeline(state)
    short = PassManager(every.pipeline_name)
    short.passes = [step for step in every.passes if step[0] not in _NOT_NEEDED]
    short.finalize()
    return short


def _compiler(name: str, library: type[JITCodeLibrary]) -> type[CompilerBase]:
    """A numba compiler that puts its code into ``library``."""

    def define_pipelines(self: Any) -> list[Any]:
        state = self.state
        state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return [_pipeline(state)]

    return type(name, (CompilerBase,), {"define_pipelines": define_pipelines})


PartCompiler = _compiler("PartCompiler", PartLibrary)
EntryCompiler = _compiler("EntryCompiler", EntryLibrary)
