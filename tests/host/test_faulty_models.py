"""A model that fails, stands still or gives nonsense costs the requests that it had, and no later ones."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from edgesight.host.datacenter import durations
from edgesight.host.datacenter.executors.base import ModelError
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.datacenter.service import Service
from edgesight.host.datacenter.shares import Budget
from edgesight.host.link.datagrams import MAX_CLASSES, Kind, Status
from edgesight.host.link.strips import encode
from tests.host.by_hand import save_onnx
from tests.host.offloading import run
from tests.host.serving import FakePeer, SizedModel, all_is_settled, say, tiny, working

DEADLINE_MS = 300
Logits = npt.NDArray[np.float32]


def out_of_memory(images: npt.NDArray[np.uint8]) -> Logits:
    raise MemoryError


FAULTS: dict[str, Callable[[npt.NDArray[np.uint8]], Logits]] = {
    "out of memory": out_of_memory,
    "a row too few": lambda images: np.zeros((len(images) - 1, 3), np.float32),
    "one row": lambda images: np.zeros(3, np.float32),
    "more classes than it said": lambda images: np.eye(len(images), 100_000, 99_999, dtype=np.float32),
    "no numbers": lambda images: np.full((len(images), 3), np.nan, np.float32),
}


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
def test_nonsense_of_the_model_fails_its_batch_and_nothing_else(
    fault: str, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        model = SizedModel(28)
        async with working(model) as service:
            peer = FakePeer("edge")
            with monkeypatch.context() as patch:
                patch.setattr(model, "run", FAULTS[fault])
                for number in range(together):
                    say(service, peer, tiny(number))
                await all_is_settled(service)
            say(service, peer, tiny(together))
            await all_is_settled(service)
            assert sorted(peer.came(Status.FAILED)) == list(range(together))
            assert peer.came(Status.ANSWERED) == [together]

    run(test())


def test_a_model_that_always_fails_writes_one_line_and_not_one_a_batch(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        model = SizedModel(28)
        model.run = out_of_memory  # type: ignore[method-assign]
        async with working(model) as service:
            service._lines = Budget(0.0, 1.0)  # a second that does not pass
            peer = FakePeer("edge")
            for number in range(20):
                say(service, peer, tiny(number))
                await all_is_settled(service)
            assert len(peer.came(Status.FAILED)) == 20

    run(test())
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "the model failed on 1 images (MemoryError: ): serve a model that ONNX Runtime runs "
        "(at most one such line a second)"
    ]


async def answered_again(service: Service, peer: FakePeer, strips_of: Callable[[int], list[bytes]]) -> None:
    """Ask until one is answered."""
    number = 0
    while not peer.came(Status.ANSWERED):
        say(service, peer, strips_of(number))
        number += 1
        await asyncio.sleep(0.02)  # sleeps: between two requests


def test_a_batch_that_stood_still_does_not_stop_all_later_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the process was stopped for a while, or its memory swapped out."""
    monkeypatch.setattr(durations, "_DOUBT_AFTER", 0.1)

    async def test() -> None:
        model = SizedModel(28, seconds=1.0)  # its first batch; what that takes is all that is known
        async with working(model) as service:
            peer = FakePeer("edge")
            say(service, peer, tiny(1_000_000))
            await all_is_settled(service)
            assert peer.came(Status.ANSWERED) == [1_000_000]
            model.seconds, peer = 0.0, FakePeer("edge")
            await asyncio.wait_for(answered_again(service, peer, lambda number: tiny(number, DEADLINE_MS)), 20)

    run(test())


def test_nor_does_it_stop_images_that_travel_entire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the guess leaves no time to wait for a second strip, the first would be refused at once."""
    monkeypatch.setattr(durations, "_DOUBT_AFTER", 0.1)
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 1), dtype=np.uint8)
    encoded = encode(image, kind=Kind.WHOLE)
    assert len(encoded.payloads) > 1

    async def test() -> None:
        model = SizedModel(64, seconds=1.0)
        async with working(model) as service:
            peer = FakePeer("edge")
            say(service, peer, encoded.pack(request=1_000_000, left_ms=60_000))
            await all_is_settled(service)
            assert peer.came(Status.ANSWERED) == [1_000_000]
            model.seconds, peer = 0.0, FakePeer("edge")

            async def ask() -> None:
                number = 0
                while not peer.came(Status.ANSWERED):
                    for strip in encoded.pack(request=number, left_ms=DEADLINE_MS):
                        say(service, peer, [strip])
                        await asyncio.sleep(0.002)  # sleeps: so that a timer that is due goes off in between
                    number += 1
                    await asyncio.sleep(0.02)  # sleeps: between two requests

            await asyncio.wait_for(ask(), 20)

    run(test())


def test_a_model_that_is_always_too_slow_is_seldom_tried() -> None:
    """What it takes is known as long as it works."""

    async def test() -> None:
        model = SizedModel(28, seconds=0.2)
        async with working(model) as service:
            patient, hasty = FakePeer("patient"), FakePeer("hasty")
            for number in range(10):
                say(service, patient, tiny(number, 60_000))
                await asyncio.sleep(0.1)  # sleeps: between two requests
                say(service, hasty, tiny(number, 150))
                await asyncio.sleep(0.12)  # sleeps: between two requests
            await all_is_settled(service)
            assert len(patient.came(Status.ANSWERED)) == 10
            assert len(hasty.came(Status.LATE)) >= 9

    run(test())


def test_the_loop_does_not_wait_for_the_model_when_the_service_ends() -> None:
    """Else a second signal would end the process no sooner than the first."""

    async def test() -> None:
        model, begun, may_end = SizedModel(28), threading.Event(), threading.Event()

        def hang(images: npt.NDArray[np.uint8]) -> Logits:
            begun.set()
            assert may_end.wait(20)
            return np.zeros((len(images), 3), np.float32)

        model.run = hang  # type: ignore[method-assign]
        try:
            async with working(model) as service:
                say(service, FakePeer("edge"), tiny(0))
                await asyncio.get_running_loop().run_in_executor(None, begun.wait, 20)
                begin = time.monotonic()
            assert time.monotonic() - begin < 10
        finally:
            may_end.set()

    run(test())


def test_more_classes_than_a_reply_tells_apart_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    save_onnx(tmp_path / "many.onnx", "image", np.zeros((784, MAX_CLASSES + 1), np.float32))
    with pytest.raises(ModelError, match=f"2 to {MAX_CLASSES} classes"):
        OnnxModel(tmp_path / "many.onnx")
