"""The live page at the door: its files for anyone, figures for who may ask, pictures for who manages."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from edgesight.host.doors import live
from edgesight.host.doors.access import ByToken
from edgesight.host.doors.tokens import Tokens, make_token
from edgesight.host.recent import KEPT, PER_S, SIDE, Recent
from tests.host.doors.conftest import CLIENT, Doors
from tests.host.doors.small import PLAIN, Small, running

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is passed over, however fast they come."""
    monkeypatch.setattr("edgesight.host.recent.PER_S", 1e9)


def test_its_files_are_for_anyone_and_load_nothing_else(shared: Doors) -> None:
    for suffix, (_, kind) in live.FILES.items():
        answer = CLIENT.get(f"{shared.http}/live{suffix}")
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] == kind
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert answer.headers["x-content-type-options"] == "nosniff"
        found = re.findall(r'(?:src|href)="([^"]*)"|url\(([^)]*)\)', answer.text)
        assert {address for pair in found for address in pair if address} <= {
            f"/live{one}" for one in live.FILES if one
        }


def test_what_the_script_looks_for_is_on_the_page() -> None:
    page, script = (live.file(suffix).decode() for suffix in ("", "/live.js"))
    names = set(re.findall(r'\bat\("([^"]*)"\)', script)) | set(re.findall(r'table\("([^"]*)"', script))
    assert len(names) > 10
    assert names <= set(re.findall(r'id="([^"]*)"', page))
    assert "innerHTML" not in script  # what comes from the server is text


def test_the_state_tells_what_is_counted_and_how_to_ask(doors: Doors) -> None:
    doors.served.seen.add("classes", PICTURE, lambda: {"class_name": "<b>boat</b>", "novelty": float("nan")})
    doors.served.unloaded.add("adder")
    state = CLIENT.get(f"{doors.http}/live/state").json()
    assert (state["name"], state["version"], state["ready"]) == ("small", "0.1", True)
    measures = {one["name"]: one for one in state["measures"]}
    assert measures["waiting"] == {"name": "waiting", "kind": "gauge", "labels": [], "values": [[[], 3]]}
    assert measures["leg_seconds"]["values"] == [
        [["link"], {"bounds": [0.1, 1.0], "counts": [1, 2, 1], "sum": pytest.approx(8.05)}]
    ]
    assert measures["pictures"]["values"][0] == [["adder", "1"], 5]
    models = {one["name"]: one for one in state["models"]}
    assert (models["classes"]["platform"], models["classes"]["outputs"]) == ("numpy", ["scores"])
    assert models["adder"] == {"name": "adder", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}
    (seen,) = state["recent"]
    assert (seen["class_name"], seen["of"], seen["number"], seen["shown"]) == ("<b>boat</b>", "classes", 0, True)
    assert seen["novelty"] is None


@pytest.mark.usefixtures("unhurried")
def test_pictures_are_given_as_they_are_or_were_sent(doors: Doors) -> None:
    seen = doors.served.seen
    grey = PICTURE[..., :1]
    for picture in (PICTURE, grey, png(PICTURE), b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(99)):
        seen.add("classes", picture, dict)

    def got(number: object, of: str = "classes") -> httpx.Response:
        return CLIENT.get(f"{doors.http}/live/pictures/{of}/{number}")

    for number, expected in ((0, PICTURE), (1, np.broadcast_to(grey, PICTURE.shape))):
        assert got(number).headers["content-type"] == "image/png"
        assert got(number).headers["cache-control"] == "no-store"
        pixels = np.asarray(Image.open(io.BytesIO(got(number).content)).convert("RGB"))
        assert np.array_equal(pixels, expected)
    assert Image.open(io.BytesIO(got(2).content)).size == (SIDE, SIDE)  # as the data centre would read it
    for unknown in (3, 4, 5, -1, "x", "0" * 999):
        assert (got(unknown).status_code, got(unknown).content) == (204, b"")
    assert got(0, "other").status_code == 204


def test_others_pictures_are_for_those_who_manage(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    asks, manages = make_token(path, "camera"), make_token(path, "owner", manages=True)
    served = Small()
    served.seen.add("classes", PICTURE, lambda: {"class_name": "boat"})
    guarded = dataclasses.replace(PLAIN, access=ByToken(Tokens(path).find, None))
    with running(served, guarded) as addresses:
        assert addresses.http is not None
        base = f"http://127.0.0.1:{addresses.http[1]}"

        def got(path: str, token: str | None) -> httpx.Response:
            return CLIENT.get(base + path, headers={"authorization": f"Bearer {token}"} if token else {})

        assert got("/live", None).status_code == 200
        assert got("/live/state", None).status_code == 401
        assert got("/live/state", asks).json()["recent"] is None
        assert "boat" not in got("/live/state", asks).text
        assert got("/live/pictures/classes/0", None).status_code == 401
        assert got("/live/pictures/classes/0", asks).status_code == 403
        assert got("/live/state", manages).json()["recent"][0]["class_name"] == "boat"
        assert got("/live/pictures/classes/0", manages).status_code == 200


def test_no_other_page_is_shown_it(shared: Doors) -> None:
    for path in ("/live/state", "/live/pictures/classes/0"):
        assert CLIENT.get(shared.http + path, headers={"origin": "http://evil.example"}).status_code == 403
        assert CLIENT.get(shared.http + path, headers={"host": "evil.example"}).status_code == 421
        assert CLIENT.get(shared.http + path, headers={"origin": shared.http}).status_code in (200, 204)
        for site in ("cross-site", "same-site"):  # a picture or a script of ours in another's page: it has no origin
            for mode, into in (("no-cors", "image"), ("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe")):
                said = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": into}
                assert CLIENT.get(shared.http + path, headers=said).status_code == 403
        said = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
        answer = CLIENT.get(shared.http + path, headers=said)
        assert answer.status_code in (200, 204)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert CLIENT.get(shared.http + "/live", headers=followed).status_code == 200


@pytest.mark.usefixtures("unhurried")
def test_a_picture_is_made_small_once_whoever_asks(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    made, make = [], live._png_of_file

    def png_of(content: bytes) -> bytes | None:
        made.append(content)
        return make(content)

    monkeypatch.setattr(live, "_png_of_file", png_of)
    for content in (png(PICTURE), b"no picture"):
        doors.served.seen.add("a/b", content, dict)
    for number in (0, 1, 0, 1):
        answer = CLIENT.get(f"{doors.http}/live/pictures/a%2Fb/{number}")
        assert answer.status_code == (204 if number else 200)
    assert len(made) == 2


def test_what_is_said_of_a_picture_is_kept_and_not_what_it_is_said_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else outputs of models that may be unloaded by now would be."""
    monkeypatch.setattr("edgesight.host.recent.PER_S", 1.0)
    recent, asked = Recent(), []

    def said() -> dict[str, object]:
        asked.append(1)
        return {"class_name": "boat"}

    recent.add("a", PICTURE, said)
    recent.add("a", PICTURE, said)  # passed over
    assert len(asked) == 1
    assert [one.said for one in recent.all()] == [{"class_name": "boat"}]


def test_few_are_kept_and_nothing_of_a_larger_request() -> None:
    Recent().add("a", np.empty((0, 0, 0), np.uint8), dict)  # be it nothing
    recent, many = Recent(), np.zeros((64, 300, 200, 3), np.uint8)
    recent.add("a", many[0], dict)
    seen, *_ = recent.all()
    assert isinstance(seen.picture, np.ndarray)
    assert seen.picture.shape == (100, 67, 3)
    assert seen.picture.base is None
    for picture in many:  # too many at once
        recent.add("a", picture, dict)
    assert int(PER_S) <= len(recent.all()) < KEPT


@pytest.mark.usefixtures("unhurried")
def test_the_oldest_goes_and_a_large_file_is_not_kept() -> None:
    recent = Recent()
    for _ in range(KEPT + 3):
        recent.add("a", bytes(1 << 20), dict)
    assert [one.number for one in recent.all()] == list(range(3, KEPT + 3))
    assert {one.picture for one in recent.all()} == {None}
