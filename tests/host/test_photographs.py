"""Photographs go to a back end of a stranger's: over the real link, at the ladder that its calibration measured."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from edgesight.cli.show import describe
from edgesight.host.back_end import form_sha256
from edgesight.host.datacenter import service as service_module
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.datacenter.service import Service
from edgesight.host.edge import _way_to
from edgesight.host.kernel import BackEndInput, Calibration, Input, Kernel, Rung
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.client_peer import ClientPeer
from edgesight.host.link.datagrams import Form, Kind, LinkError, Status, Strip
from edgesight.host.link.keys import client_keys
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.quality import LADDER, Fitted, Room, Step, fit, ladder_of
from edgesight.host.link.strips import Assembly, assemble, cut, encode, encode_at
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.relay import RelayLink
from edgesight.sim.link.trust import Trust, make_trust
from tests.host.by_hand import calibration, package
from tests.host.offloading import IDLE, connected, run, serving
from tests.host.serving import FakePeer, SizedModel, all_is_settled, say, working
from tests.host.stranger import FORM, NAMED, SIDE, clear_photographs, logits_of, save_stranger
from tests.waiting import until

MEASURED = ladder_of(
    [
        Rung(quality=60, divisor=2, bytes=4_000.0, accuracy=0.9),
        Rung(quality=30, divisor=4, bytes=1_000.0, accuracy=0.8),
    ]
)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return make_trust(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: extra `datacenter`")
    return save_stranger(tmp_path_factory.mktemp("stranger") / "stranger.onnx")


@pytest.mark.parametrize("ladder", [LADDER, MEASURED], ids=["usual", "measured"])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_strangers_back_end_answers_photographs_over_the_link(
    keys: Trust, stranger: Path, ladder: tuple[Step, ...], loss: float
) -> None:
    photographs = clear_photographs(12)
    assert len(encode(photographs[0]).payloads) > 4
    expected = logits_of(photographs).argmax(axis=1)
    assert len(set(expected)) == 4

    async def test() -> None:
        async with (
            serving(keys, model=OnnxModel(stranger, FORM)) as address,
            RelayLink(address, LinkOptions(loss=loss), seed=3) as link,
            connected(link.address, keys, ladder=ladder) as client,
        ):
            for photograph, label in zip(photographs, expected, strict=True):
                reply = await client.offload(photograph, 10.0)
                assert reply.label == label
                assert loss or not reply.coarse

    run(test())


def test_an_edge_asks_by_its_calibrations_ladder(keys: Trust, tmp_path: Path) -> None:
    rungs = [{"quality": 60, "divisor": 2, "bytes": 4_000.0, "accuracy": 0.9}]
    for known, expected in ((rungs, (Step(60, 2),)), ([], LADDER)):
        calibrated = Calibration.model_validate({**calibration().model_dump(), "ladder": known})
        kernel = package(tmp_path / f"kernel-{len(known)}", calibrated).kernel

        async def ladder(kernel: Kernel = kernel, calibrated: Calibration = calibrated) -> Sequence[Step]:
            return _way_to(("localhost", 4_433), keys.edge, kernel, calibrated)().ladder

        assert run(ladder()) == expected


def test_a_ladder_has_no_quality_that_strips_cannot_say() -> None:
    best = Rung(quality=95, divisor=1, bytes=9_000.0, accuracy=0.9)
    encoded = encode(clear_photographs(1)[0], best.quality)
    assert Strip.parse(encoded.pack(request=1, left_ms=9)[0]).form.quality == best.quality
    with pytest.raises(ValueError, match="quality"):
        Rung(quality=96, divisor=1, bytes=9_000.0, accuracy=0.9)


def test_what_a_back_end_takes_and_how_photographs_travel_is_shown(tmp_path: Path) -> None:
    def shown(**fields: Any) -> str:
        console = Console(record=True, width=400, file=io.StringIO())
        describe(package(tmp_path / f"kernel-{len(fields)}", calibration()).replace(**fields), console)
        return console.export_text()

    assert "Back end" not in shown()
    same = BackEndInput.same_as(Input(height=28, width=28, channels=1)).model_dump()
    assert "Back end: takes the fabric's picture." in shown(backend_input=same)
    rungs = [
        {"quality": 60, "divisor": 2, "bytes": 4_000.0, "accuracy": 0.9},
        {"quality": 30, "divisor": 4, "bytes": 1_000.0, "accuracy": 0.8},
    ]
    known = {**calibration().model_dump(), "ladder": rungs}
    told = shown(backend_input=FORM.model_dump(), calibration=known)
    assert (
        "Back end: takes photographs of 224x224x3 as float32, NCHW, less 124 116 104, over 58 57 56; 4 of its logits "
        "are the classes."
    ) in told
    assert (
        "Photographs travel at JPEG quality 60, 1/2 of each side (4,000 bytes, back end 0.9000); where bandwidth is "
        "short, without a guarantee, at JPEG quality 30, 1/4 of each side (1,000 bytes, back end 0.8000)."
    ) in told


def test_a_data_centre_that_gives_the_model_another_form_of_picture_is_not_asked(keys: Trust, stranger: Path) -> None:
    """The model's checksum says nothing of mean, deviation and outputs, on which the accuracy hangs as much."""

    async def test() -> None:
        other = FORM.model_copy(update={"outputs": NAMED[::-1]})
        served = OnnxModel(stranger, other)
        async with serving(keys, model=served, form=served.form) as address:
            client = OffloadClient(
                *address, client_keys(keys.edge, IDLE), model_sha256=served.sha256, form_sha256=form_sha256(FORM)
            )
            client.start()
            said = "pictures in another form, or takes other outputs of it: serve this edge's kernel package there"
            await until(lambda: said in (client.trouble or ""))
            with pytest.raises(NoAnswer):
                await client.offload(clear_photographs(1)[0], 10.0)
            await client.close()
            async with connected(address, keys, form_sha256=form_sha256(other)):
                pass

    run(test())


def test_under_a_tight_bandwidth_the_calibrations_coarser_rung_is_taken_and_said(
    keys: Trust, stranger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate, sent = [1e7], []
    monkeypatch.setattr(ClientPeer, "rate", property(lambda peer: rate[0]))

    def noted(*given: Any, **options: Any) -> Fitted:
        sent.append(fit(*given, **options))
        return sent[-1]

    monkeypatch.setattr("edgesight.host.link.client.fit", noted)
    (photograph,) = clear_photographs(1)
    label = int(logits_of(photograph[None]).argmax())
    whole = encode_at(photograph, MEASURED[0].quality, MEASURED[0].divisor).size

    async def test() -> None:
        async with (
            serving(keys, model=OnnxModel(stranger, FORM)) as address,
            connected(address, keys, ladder=MEASURED) as client,
        ):
            reply = await client.offload(photograph, 10.0)
            assert (reply.label, reply.coarse) == (label, False)
            rate[0] = whole / 10.0  # bytes a second: not all of the time until the deadline may be spent on sending
            reply = await client.offload(photograph, 10.0)
            assert (reply.label, reply.coarse) == (label, True)
            client.ladder = MEASURED[1:]  # as of another calibration, which holds for what is coarse here
            reply = await client.offload(photograph, 10.0)
            assert (reply.label, reply.coarse) == (label, False)

    run(test())
    forms = [(fitted.encoded.quality, fitted.encoded.height) for fitted in sent]
    assert forms == [(60, SIDE // 2), (30, SIDE // 4), (30, SIDE // 4)]


def test_what_decoded_photographs_hold_is_bounded_whatever_their_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of 8, and 16 more decoded, were 1.1 GiB at 4,096 pixels."""
    image = np.zeros((64, 64, 3), np.uint8)  # enlarged to the form

    async def test() -> None:
        largest = Service(SizedModel(4_096, 3))
        assert (largest._max_batch, largest._most_decoded) == (1, 1)
        small = Service(SizedModel(224, 3))
        assert small._max_batch == service_module.MAX_BATCH
        monkeypatch.setattr(service_module, "_DECODED_BYTES", 2 * 224 * 224 * 3 + 1)
        model, most = SizedModel(224, 3, seconds=0.02), 0
        async with working(model) as service:
            decoded = service._decoded

            def counted(*given: Any) -> Any:
                nonlocal most
                came = decoded(*given)
                most = max(most, len(came) + sum(len(share.decoded) for share in service._shares))
                return came

            monkeypatch.setattr(service, "_decoded", counted)
            peers = [FakePeer(f"edge-{number}") for number in range(3)]
            for number in range(12):
                say(service, peers[number % 3], cut(image, request=number, left_ms=60_000))
            await all_is_settled(service)
        assert sum(len(peer.came(Status.ANSWERED)) for peer in peers) == 12
        assert max(model.batches) == 2
        assert most <= 2

    run(test())


def test_the_largest_photograph_travels() -> None:
    side = 4_096
    image = np.full((side, side, 3), 40, np.uint8)
    image[: side // 2, :, 1] = 200
    assembly = assemble(Strip.parse(message) for message in cut(image, request=0, left_ms=0, quality=50))
    arrived = assembly.image()
    assert arrived.shape == image.shape
    difference: npt.NDArray[np.int16] = arrived[99::256, 99::256].astype(np.int16) - image[99::256, 99::256]
    assert np.abs(difference).max() < 8


def test_a_photograph_of_more_blocks_than_a_strip_can_number_is_refused_at_both_ends() -> None:
    image = np.zeros((4_096, 4_096, 1), np.uint8)
    with pytest.raises(LinkError, match="has 262144 JPEG blocks: at most 65536 travel so; make it smaller"):
        encode(image)
    with pytest.raises(LinkError, match="has 262144 JPEG blocks"):
        Assembly(Form(Kind.JPEG, 4_096, 4_096, 1, 85, 100))
    fitted = fit(image, (Step(85, 1), Step(85, 2)), Room(), loss=0.0)
    assert (fitted.encoded.height, fitted.coarse) == (2_048, True)
