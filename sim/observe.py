"""What a cascade says of images whose truth is known: the input of calibration, and of baselines.

The stages' answers are csim's, which equal the RTL's bit for bit (`edgesight verify` proves it); the back end's go
through the strips and their repair at a given packet loss.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from host.calibrate import Observed
from host.datacenter.models import Executor
from host.fabric.base import Images
from host.fabric.csim import decide
from host.kernel import Package
from host.link.strips import through_loss
from sim.workers import Workers, progress

_BATCH = 64


def observe(
    package: Package, model: Executor, images: Images, truth: npt.NDArray[np.int64], loss: float, seed: int
) -> Observed:
    """Run images uint8 [N, H, W, C] of classes `truth` [N] through both stages and through the lossy back end.

    Where every strip of an image is lost, the last stage's label stands in, as it does for a user.
    """
    with Workers(package, "csim") as workers:
        logits = workers.logits(images, "stages (csim)")
    labels, margins = zip(*(decide(stage) for stage in logits), strict=True)
    backend = labels[-1].copy()
    generator = np.random.default_rng(seed)
    with progress() as bar:
        task = bar.add_task("back end through the lossy link", total=len(images))
        for start in range(0, len(images), _BATCH):
            received = [through_loss(image, loss, generator) for image in images[start : start + _BATCH]]
            came = [index for index, image in enumerate(received) if image is not None]
            if came:
                batch = np.stack([image for image in received if image is not None])
                backend[start + np.array(came)] = model.run(batch).argmax(axis=1)
            bar.advance(task, len(received))
    return Observed(np.stack(margins), np.stack(labels), backend, truth)
