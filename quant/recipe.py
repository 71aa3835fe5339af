"""How each network is trained: the numbers, and by which size of data they change.

Words owned here: recipe, phase."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from edgesight.host.errors import EdgeSightError
from edgesight.quant.splits import DataSet

Phase: TypeAlias = Literal["float", "scratch", "quantised", "features", "blocks", "answers"]
"""`float` trains a float network, `scratch` a quantised one from nothing, `quantised` one whose weights are learnt. Of
a back end for photographs, `features` is what its frozen blocks make of them, `blocks` trains the others, and in
`answers` it is measured and teaches."""


class TrainingError(EdgeSightError, ValueError):
    """Training that cannot start or go on; the message names the argument or file, what was found and the remedy."""


@dataclass(frozen=True)
class Recipe:
    """How one phase of a training goes.

    Attributes:
        epochs: passes over the train split.
        batch: images a step.
        rate: the one-cycle schedule's highest learning rate.
        warm_up: share of all steps that the rate rises for, before it falls along a cosine to nothing.
        optimiser: Nesterov momentum (`sgd`) or `adamw`.
        decay: weight decay.
        smoothing: label smoothing.
        shift: images are moved by up to so many pixels each way.
        erase: side of a square blanked at a random place, in pixels; 0 for none.
        turn: images are turned by up to so many degrees each way.
        zoom: images are made larger or smaller by up to this share.
        light: brightness and contrast are each multiplied by up to e**light, or divided by it.
        teaching: weight of the teacher's answer against the label's in the loss, 0 to 1.
        temperature: softens the teacher's answer and the student's.
        bfloat16: whether layers compute in bfloat16; never so in the quantised phase, which must be exact.
    """

    epochs: int
    batch: int
    rate: float
    warm_up: float
    optimiser: Literal["sgd", "adamw"]
    decay: float
    smoothing: float = 0.0
    shift: int = 0
    erase: int = 0
    turn: float = 0.0
    zoom: float = 0.0
    light: float = 0.0
    teaching: float = 0.0
    temperature: float = 1.0
    bfloat16: bool = True


_STAGE_FLOAT: Final = Recipe(
    epochs=10, batch=128, rate=4e-3, warm_up=0.25, optimiser="adamw", decay=1e-2, teaching=0.7, temperature=2.0
)


# A higher rate only makes few-bit weights flicker between neighbours: 2e-3 cost stage 0 most of a point.
_STAGE_QUANTISED: Final = Recipe(
    epochs=12,
    batch=128,
    rate=7e-4,
    warm_up=0.1,
    optimiser="adamw",
    decay=0.0,
    teaching=0.7,
    temperature=2.0,
    bfloat16=False,
)


RECIPES: Final[dict[Literal["stage", "backend"], dict[Phase, Recipe]]] = {
    "stage": {
        "float": _STAGE_FLOAT,
        "scratch": dataclasses.replace(_STAGE_FLOAT, bfloat16=False),
        "quantised": _STAGE_QUANTISED,
    },
    "backend": {
        "float": Recipe(
            epochs=24,
            batch=128,
            rate=0.15,
            warm_up=0.2,
            optimiser="sgd",
            decay=5e-4,
            smoothing=0.05,
            shift=1,
        )
    },
}


# Photographs of one thing differ by light, place, size and angle, and those of a folder are often few scenes, each many
# times: on traffic signs split by track the train split is soon known by heart, while the test split is not.
_TURN: Final = 10.0
_ZOOM: Final = 0.1
_LIGHT: Final = 0.4
_PIXELS_A_SHIFT: Final = 16
"""A photograph is moved by up to a pixel for so many pixels of its side."""
# What is varied in so many ways needs fewer passes over 20,000 images than the recipes of grey ones have.
_PHOTOGRAPH_EPOCHS: Final[dict[Literal["stage", "backend"], dict[Phase, int]]] = {
    "stage": {"float": 10, "scratch": 10, "quantised": 8},
    "backend": {"float": 16},
}


def recipe_for(name: str, phase: Phase, data: DataSet, quick: bool, epochs: int | None) -> Recipe:
    """Return the recipe of a phase of the network `name`, `backend` or a stage, for a data set.

    Sets below 20,000 images get more passes in proportion, at most 10 times the recipe's. `quick` cuts passes to a
    fifth, for a look or a test; `epochs` overrides both. Photographs of at least 16 pixels are moved, turned, zoomed
    and lit at random; on images below 16 pixels nothing is shifted by more than one pixel or erased.

    Raises:
        TrainingError: `epochs` below 1.
    """
    kind: Literal["stage", "backend"] = "backend" if name == "backend" else "stage"
    recipe = RECIPES[kind][phase]
    if epochs is not None and epochs < 1:
        raise TrainingError(f"epochs: found {epochs}, expected at least 1")
    side = min(data.shape[:2])
    if data.photographs and side >= 16:
        recipe = dataclasses.replace(
            recipe,
            epochs=_PHOTOGRAPH_EPOCHS[kind][phase],
            shift=side // _PIXELS_A_SHIFT,
            turn=_TURN,
            zoom=_ZOOM,
            light=_LIGHT,
        )
    passes = recipe.epochs
    if len(data.train) < 20_000:
        passes = min(10 * passes, math.ceil(passes * 20_000 / len(data.train)))
    recipe = dataclasses.replace(recipe, epochs=epochs or (max(2, passes // 5) if quick else passes))
    # Small sets need more than a few steps a pass, and batch normalisation two images a step.
    recipe = dataclasses.replace(recipe, batch=max(2, min(recipe.batch, len(data.train) // 8)))
    if side < 16:
        recipe = dataclasses.replace(recipe, shift=min(recipe.shift, 1), erase=0)
    return recipe
