"""What runs a model: named arrays in, named arrays out, whichever library does it.

`make` is given a `Recipe` and the file's bytes; the library is imported there and only there, since none of them is
needed where another runs the model, and a board has none.
"""

from __future__ import annotations

from edgesight.host.datacenter.executors.base import Arrays, Executor, ModelError, Recipe

__all__ = ["Arrays", "Executor", "ModelError", "Recipe", "make"]

KINDS = ("onnxruntime", "pytorch", "triton")


def make(recipe: Recipe, content: bytes) -> Executor:
    """The executor of `recipe` for the model file `content`; raises ModelError."""
    if recipe.kind == "onnxruntime":
        from edgesight.host.datacenter.executors.onnx_runtime import OnnxExecutor

        return OnnxExecutor(recipe, content)
    if recipe.kind == "pytorch":
        from edgesight.host.datacenter.executors.pytorch import PytorchExecutor

        return PytorchExecutor(recipe, content)
    if recipe.kind == "triton":
        from edgesight.host.datacenter.executors.triton import TritonExecutor

        return TritonExecutor(recipe)
    raise ModelError(f"{recipe.name}: its backend is {recipe.kind!r}: state one of {', '.join(KINDS)}")
