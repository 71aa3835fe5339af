"""A share of the answers is held against the back end's and kept, labels test the truth, and nothing is unbounded."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from edgesight.host import audits
from edgesight.host.answer import Answer
from edgesight.host.audits import Auditing, Audits, audits_in, followed_in, label
from edgesight.host.cascade import Cascade
from edgesight.host.edge import Edge
from edgesight.host.images import Picture
from edgesight.host.link.datagrams import LinkError, Status
from edgesight.host.link.offload import Offloaded
from edgesight.host.package import Package
from edgesight.host.watches import AuditError
from edgesight.sim.link.trust import make_trust
from tests.host.by_hand import FakeFabric, clear_images, package, random_images, stage1_answer, sums, watched
from tests.host.offloading import connected, expected, run, serving
from tests.waiting import wait_until

TARGET = 0.9  # that stage 1 answers
BOUND = 0.95
CLASSES = [f"class {number}" for number in range(4)]


class Says:
    """A data centre that says what stage 1 would, or of some pictures another class, or nothing."""

    def __init__(self, others: Sequence[int] = (), *, loss: float = 0.0, gone: bool = False) -> None:
        self.asked = 0
        self._others, self._loss, self._gone = set(others), loss, gone

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        number, self.asked = self.asked, self.asked + 1
        if self._gone:
            raise LinkError("the data centre is gone")
        own = int(sums(image[None], 1)[0].argmax())
        said = (own + 1) % 4 if number in self._others else own
        return Offloaded(number, Status.ANSWERED, said, service_us=1, loss=self._loss)


@pytest.fixture
def made(tmp_path: Path) -> Package:
    return package(tmp_path / "kernel", watched())


def asked(made: Package, offload: Says, folder: Path, count: int, accuracy: float = TARGET) -> list[Answer]:
    """The answers to so many pictures, each audited before the next is asked."""

    async def ask() -> list[Answer]:
        cascade = Cascade(
            FakeFabric(made), watched(), offload, audits=Audits(Auditing(folder, 1.0), watched(), CLASSES)
        )
        answers = []
        async with Edge(cascade) as edge:
            for image in random_images(count):
                answers.append(await edge.ask(Picture(image, ()), edge.target(accuracy), 1.0))
                await cascade.audited()
        await cascade.end_audits()
        cascade.close()
        return answers

    return asyncio.run(ask())


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "unlabelled").glob("*.png"))


def test_answers_of_the_fabric_are_held_against_the_back_ends(made: Package, tmp_path: Path) -> None:
    answers = asked(made, Says(others=(2,)), tmp_path / "audits", 6)
    found = list(audits_in(tmp_path / "audits"))
    assert [audit.label for audit in found] == [answer.label for answer in answers]
    assert [audit.agrees for audit in found] == [True, True, False, True, True, True]
    watch = followed_in(tmp_path / "audits")["agreement"][TARGET].watch
    assert (watch.count, watch.successes, watch.bound) == (6, 5, BOUND)
    pictures = [np.asarray(Image.open(path)) for path in kept(tmp_path / "audits")]
    assert np.array_equal(pictures, random_images(6)[..., 0])


def test_audits_go_over_the_link(made: Package, tmp_path: Path) -> None:
    """To a back end that takes the smallest of the sums, and so never agrees."""
    folder, keys = tmp_path / "audits", make_trust(tmp_path)

    async def test() -> None:
        async with serving(keys) as address, connected(address, keys) as client:
            chosen = Audits(Auditing(folder, 1.0), watched(), CLASSES)
            cascade = Cascade(FakeFabric(made), watched(), client, audits=chosen)
            async with Edge(cascade) as edge:
                for image in clear_images(5):
                    answer = await edge.ask(Picture(image, ()), edge.target(TARGET), 1.0)
                    assert answer.stage == "stage1"
                    await cascade.audited()
            cascade.close()

    run(test())
    assert [audit.backend_label for audit in audits_in(folder)] == [expected(image) for image in clear_images(5)]
    watch = followed_in(folder)["agreement"][TARGET].watch
    assert (watch.count, watch.successes) == (5, 0)


def test_answers_of_the_back_end_are_kept_and_not_asked_for_again(made: Package, tmp_path: Path) -> None:
    offload = Says()
    asked(made, offload, tmp_path / "audits", 3, accuracy=0.95)
    assert offload.asked == 3
    assert [(audit.stage, audit.agrees) for audit in audits_in(tmp_path / "audits")] == [("datacenter", None)] * 3
    assert followed_in(tmp_path / "audits")["agreement"][0.95].watch.count == 0


@pytest.mark.parametrize("offload", [Says(gone=True), Says(loss=0.1)], ids=["gone", "a link beyond the calibration"])
def test_a_reply_that_the_bound_does_not_cover_is_none(made: Package, tmp_path: Path, offload: Says) -> None:
    asked(made, offload, tmp_path / "audits", 3)
    assert [audit.backend_label for audit in audits_in(tmp_path / "audits")] == [None] * 3
    assert followed_in(tmp_path / "audits")["agreement"][TARGET].watch.count == 0
    assert json.loads((tmp_path / "audits" / "agreement.json").read_text())["unanswered"] == 3


def test_what_no_target_covers_is_not_audited(made: Package, tmp_path: Path) -> None:
    """A degraded answer: there is no data centre, and this target is answered there."""

    async def ask() -> Answer:
        chosen = Audits(Auditing(tmp_path / "audits", 1.0), watched(), CLASSES)
        cascade = Cascade(FakeFabric(made), watched(), None, audits=chosen)
        async with Edge(cascade) as edge:
            answer = await edge.ask(Picture(random_images(1)[0], ()), edge.target(0.95), 1.0)
            await cascade.audited()
        await cascade.end_audits()
        return answer

    assert asyncio.run(ask()).degraded
    assert not kept(tmp_path / "audits")


def test_an_alarm_names_target_time_and_pictures_and_outlives_the_edge(
    made: Package, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        asked(made, Says(others=range(0, 60, 2)), tmp_path / "audits", 60)
    alarm = followed_in(tmp_path / "audits")["agreement"][TARGET].alarm
    assert alarm is not None
    assert alarm.fall.until <= 60
    assert alarm.fall.since_at <= alarm.fall.until_at
    disagreeing = {audit.id for audit in audits_in(tmp_path / "audits") if audit.agrees is False}
    assert 0 < len(alarm.examples) <= 8
    assert set(alarm.examples) <= disagreeing
    assert [record.message for record in caplog.records if "may not hold any more" in record.message] == [alarm.told()]
    caplog.clear()
    asked(made, Says(), tmp_path / "audits", 62 - 60)
    assert followed_in(tmp_path / "audits")["agreement"][TARGET].alarm == alarm


def test_another_calibration_is_watched_anew_and_former_answers_tell_nothing_of_it(tmp_path: Path) -> None:
    answer = stage1_answer()
    one = Audits(Auditing(tmp_path, 1.0), watched(), CLASSES)
    photograph = random_images(1)[0]
    one.take(photograph, answer, watched(), 1, True)
    one.keep()
    assert followed_in(tmp_path)["agreement"][TARGET].watch.count == 1
    one.recalibrated(watched(0.9))
    one.take(photograph, answer, watched(), 1, True)
    one.keep()
    found = followed_in(tmp_path)["agreement"][TARGET].watch
    assert (found.count, found.bound) == (0, 0.9)
    one.close()
    Audits(Auditing(tmp_path, 1.0), watched(None), CLASSES).close()
    assert followed_in(tmp_path)["agreement"] == {}


def test_what_was_seen_is_written_once_a_second_and_at_once_where_it_gives_the_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("edgesight.host.audits.time.monotonic", lambda: now[0])
    monkeypatch.setattr(Audits, "_keep_late", lambda self: None)  # by the machine's own clock
    one = Audits(Auditing(tmp_path, 1.0), watched(), CLASSES)

    def written() -> int:
        return followed_in(tmp_path)["agreement"][TARGET].watch.count

    def take(backend_label: int) -> bool:
        return one.take(random_images(1)[0], stage1_answer(), watched(), backend_label, True) is not None

    answered = stage1_answer().label
    counts = []
    for now[0] in (100.5, 101.0, 101.9, 102.0):
        take(answered)
        counts.append(written())
    assert counts == [0, 2, 2, 4]
    while not take((answered + 1) % 4):
        assert written() == 4
    count = written()
    assert count > 4
    take(answered)
    assert written() == count
    one.keep()
    assert written() == count + 1


def test_labels_test_the_truth_and_make_a_folder_to_calibrate_on(made: Package, tmp_path: Path) -> None:
    folder = tmp_path / "audits"
    answers = asked(made, Says(), folder, 40)
    alarms = []
    for audit, answer in zip(list(audits_in(folder)), answers, strict=True):
        alarms.append(label(folder, audit.id, CLASSES[(answer.label + 1) % 4], watched()))
    found = followed_in(folder)["accuracy"][TARGET]
    assert (found.watch.count, found.watch.successes, found.watch.bound) == (40, 0, TARGET)
    assert [alarm for alarm in alarms if alarm is not None] == [found.alarm]
    assert not kept(folder)
    labelled = {path.parent.name: path for path in (folder / "labelled").rglob("*.png")}
    assert set(labelled) <= set(CLASSES)
    assert sum(1 for _ in (folder / "labelled").rglob("*.png")) == 40


def test_labels_that_cannot_be_are_named(made: Package, tmp_path: Path) -> None:
    folder = tmp_path / "audits"
    asked(made, Says(), folder, 1)
    (audit,) = audits_in(folder)
    with pytest.raises(AuditError, match="is none of the classes: give one of class 0, class 1"):
        label(folder, audit.id, "class 4", watched())
    for absent in ("1", "../x", "a\0b", "x" * 300):
        with pytest.raises(AuditError, match="has no unlabelled audit"):
            label(folder, absent, "class 1", watched())
    label(folder, audit.id, "class 1", watched(0.9))  # of another calibration: labelled, and no test of it
    assert followed_in(folder)["accuracy"][TARGET].watch.count == 0


def test_damaged_files_are_named_and_left(made: Package, tmp_path: Path) -> None:
    folder = tmp_path / "audits"
    asked(made, Says(), folder, 2)
    first, second = kept(folder)
    first.write_bytes(first.read_bytes()[:40])
    with pytest.raises(AuditError, match="is no audit's picture, or damaged"):
        list(audits_in(folder))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(first)
    with pytest.raises(AuditError, match=f"{first}: is no audit's picture"):
        list(audits_in(folder))
    first.write_bytes(second.read_bytes())
    with pytest.raises(AuditError, match=f"{first}: is no audit's picture"):
        list(audits_in(folder))
    Image.MAX_IMAGE_PIXELS, most = 4, Image.MAX_IMAGE_PIXELS
    try:
        with pytest.raises(AuditError, match=f"{first}: is no audit's picture"):
            list(audits_in(folder))
    finally:
        Image.MAX_IMAGE_PIXELS = most
    (folder / "agreement.json").write_text("{}")
    with pytest.raises(AuditError, match=r"agreement\.json: cannot be read, or says what no edge wrote"):
        Audits(Auditing(folder), watched(), CLASSES)


def test_of_too_many_pictures_the_oldest_make_room(
    made: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "audits"
    asked(made, Says(), folder, 5)
    names = [path.name for path in kept(folder)]
    monkeypatch.setattr(audits, "KEPT", 3)
    audits._make_room(folder / "unlabelled")
    assert [path.name for path in kept(folder)] == names[2:]
    left, begun = (folder / "unlabelled" / f".1764491520123-0a1b2c3{k}.png.x_1y2z3w" for k in "de")
    for path in (left, begun):
        path.write_bytes(b"half of a picture")
    os.utime(left, (0, 0))  # as a killed edge left it
    audits._make_room(folder / "unlabelled")
    assert (left.exists(), begun.exists()) == (False, True)
    monkeypatch.setattr(audits, "_KEPT_BYTES", 1)
    audits._make_room(folder / "unlabelled")
    assert [path.name for path in kept(folder)] == names[4:]


def test_never_more_pictures_are_kept_than_may_be_and_the_folder_is_not_looked_through_for_each(
    made: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, looked = tmp_path / "audits", list[int]()
    monkeypatch.setattr(audits, "KEPT", 32)
    make_room = audits._make_room

    def look(place: Path) -> tuple[int, int]:
        looked.append(len(kept(folder)))
        return make_room(place)

    monkeypatch.setattr(audits, "_make_room", look)
    asked(made, Says(), folder, 40)
    assert looked == [1, 33, 33, 33]  # at the start, and at each that was one too many
    assert len(kept(folder)) == 31
    for picture in kept(folder)[:10]:
        picture.unlink()  # as they are labelled
    asked(made, Says(), folder, 12)
    assert looked[4:] == [22, 33]
    assert len(kept(folder)) == 30


def test_a_full_disk_costs_an_audit_and_no_answer(
    made: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "audits"
    chosen = Audits(Auditing(folder, 1.0), watched(), CLASSES)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(audits, "write_atomically", full)

    async def ask() -> list[Answer]:
        cascade = Cascade(FakeFabric(made), watched(), Says(), audits=chosen)
        async with Edge(cascade) as edge:
            answers = []
            for image in random_images(3):
                answers.append(await edge.ask(Picture(image, ()), edge.target(TARGET), 1.0))
                await cascade.audited()
        await cascade.end_audits()
        return answers

    assert len(asyncio.run(ask())) == 3
    assert any(
        "an audit was lost" in record.message and "look at the folder" in record.message for record in caplog.records
    )


def test_a_folder_is_of_one_edge_at_a_time(tmp_path: Path) -> None:
    one = Audits(Auditing(tmp_path, 1.0), watched(), CLASSES)
    with pytest.raises(AuditError, match="is another edge's, which runs: give each a folder of its own"):
        Audits(Auditing(tmp_path, 1.0), watched(), CLASSES)
    one.close()
    one.close()
    Audits(Auditing(tmp_path, 1.0), watched(), CLASSES).close()


@pytest.mark.parametrize("trouble", ["full disk", "damaged picture", "no picture at all"])
def test_an_alarm_is_told_though_its_pictures_cannot_be_kept_or_read(
    made: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, trouble: str
) -> None:
    folder = tmp_path / "audits"
    (folder / "unlabelled").mkdir(parents=True)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if trouble == "full disk":
        monkeypatch.setattr(audits, "write_atomically", full)
    elif trouble == "damaged picture":
        (folder / "unlabelled" / "9999999999999-00000000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    else:
        (folder / "unlabelled" / "9999999999999-00000000.png").mkdir()
        os.mkfifo(folder / "unlabelled" / "9999999999999-00000001.png")
    with caplog.at_level(logging.WARNING):
        asked(made, Says(others=range(60)), folder, 60)
    assert sum("may not hold any more" in record.message for record in caplog.records) == 1


def test_a_swap_over_a_damaged_file_begins_to_watch_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = Audits(Auditing(tmp_path, 1.0), watched(), CLASSES)
    (tmp_path / "agreement.json").write_text("{}")
    one.recalibrated(watched(0.9))
    assert "agreement.damaged" in caplog.text
    assert (tmp_path / "agreement.damaged").read_text() == "{}"
    one.take(random_images(1)[0], stage1_answer(), watched(0.9), 1, True)
    one.keep()
    assert followed_in(tmp_path)["agreement"][TARGET].watch.count == 1


def test_about_the_share_is_chosen(tmp_path: Path) -> None:
    chosen = Audits(Auditing(tmp_path, 0.1), watched(), CLASSES)
    assert 800 < sum(chosen.chosen() for _ in range(10_000)) < 1_200
    chosen.close()
    assert not any(Audits(Auditing(tmp_path, 0.0), watched(), CLASSES).chosen() for _ in range(100))


def test_what_was_seen_is_written_though_no_audit_follows_and_nobody_closes(tmp_path: Path) -> None:
    one = Audits(Auditing(tmp_path, 1.0), watched(), CLASSES)
    for _ in range(3):
        one.take(random_images(1)[0], stage1_answer(), watched(), stage1_answer().label, True)
    wait_until(lambda: followed_in(tmp_path)["agreement"][TARGET].watch.count == 3)
    one.close()
