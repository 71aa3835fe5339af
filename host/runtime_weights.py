"""What a kernel package says of weights that its hardware takes at run time."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from edgesight.host.manifest_fields import Strict, inside


class RuntimeWeights(Strict):
    """Weights that the hardware takes at run time: the image that is loaded, and whose they are."""

    file: Annotated[str, AfterValidator(inside)]  # in the package: words of 32 bits, the lowest byte first
    words: Annotated[int, Field(ge=1)]  # register `weights_words` says it
    crc32: Annotated[int, Field(ge=0, lt=1 << 32)]  # of the file, as ISO 3309 has it
    # The layers, as `stage0.conv1`, and the least and the largest weight that each can hold.
    layers: dict[str, tuple[int, int]]
    whole: list[str]  # stages of which every layer is loaded that can be
