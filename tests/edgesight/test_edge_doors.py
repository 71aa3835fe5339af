"""`edgesight edge` behind the Open Inference Protocol: several applications, asked by tritonclient as it is."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesight.cli.applications import setups_of
from edgesight.cli.doors import options_of
from edgesight.hls.csim import build_library
from edgesight.host.applications.clients import by_authority
from edgesight.host.applications.run import Setup, run_edge
from edgesight.host.datacenter.authority import Authority
from edgesight.host.doors.access import Anyone, ByToken, Client, DoorError, Peer, Role
from edgesight.host.doors.bounds import of_board
from edgesight.host.doors.certificates import make_client
from edgesight.host.doors.served import Refused
from edgesight.host.doors.tokens import Tokens
from edgesight.host.edge import EdgeError
from edgesight.host.errors import EdgeSightError
from edgesight.host.link.keys import KeysError, now
from edgesight.host.package import Package
from edgesight.host.process import machine_memory
from edgesight.host.queries import query
from edgesight.sim.link.trust import make_trust
from edgesight.sim.rtl.runner import ROOT

InferenceServerException: Any = pytest.importorskip("tritonclient.utils").InferenceServerException

DEADLINE_S = 120.0
DIGITS = ROOT / "bitstreams" / "digits"
DEFAULT = Setup(Path(), "verilated", datacenter=("10.0.0.2", 4433), keys_folder=Path("keys"))


class Running:
    """An edge with two applications, and where its doors are."""

    def __init__(self, folder: Path) -> None:
        build_library(Package.load(DIGITS))
        self.socket = folder / "edge.sock"
        known = Package.load(DIGITS).kernel.calibration
        assert known is not None
        targets = [target.accuracy for target in known.targets]
        self.lowest, self.highest = min(targets), max(targets)
        command: list[object] = [sys.executable, "-u", "-m", "edgesight", "edge", DIGITS, "--fabric", "csim"]
        command += ["--application", f"other={DIGITS},accuracy={self.lowest}", "--socket", self.socket]
        for door in ("--http", "--grpc", "--health"):
            command += [door, "127.0.0.1:0"]
        self.process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        begun = select.select([self.process.stdout], [], [], DEADLINE_S)[0]
        if not begun:
            self.process.kill()
        first, second, doors = (self.process.stdout.readline().strip() for _ in range(3))
        assert first == f"edge: digits on csim at {self.socket}, data centre none"
        assert second == "edge: other on csim, data centre none"
        self.at = dict(door.split(" at ") for door in doors.removeprefix("edge: ").split(", "))


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("edge"))
    with running.process:
        yield running
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(DEADLINE_S) == 0
        assert not running.socket.exists()


def pictures() -> np.ndarray[Any, Any]:
    content = []
    for seed in range(3):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16), np.uint8)).save(file, "PNG")
        content.append(file.getvalue())
    return np.array(content, object)


@pytest.mark.parametrize("kind", ["gRPC", "HTTP"])
def test_tritonclient_asks_either_application_as_it_is(edge: Running, kind: str) -> None:
    if kind == "HTTP":
        pytest.importorskip("gevent", reason="tritonclient's HTTP client needs the extra `http`")
    library: Any = importlib.import_module(f"tritonclient.{kind.lower()}")
    content = pictures()
    with library.InferenceServerClient(edge.at[kind]) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("other")
        taken = library.InferInput("picture", [3, 1], "BYTES")
        taken.set_data_from_numpy(content[:, None])
        found = client.infer("other", [taken])
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(one)).resize((8, 8)))[..., None] for one in content])
        assert found.as_numpy("accuracy_target").tolist() == [edge.lowest] * 3
        assert np.isnan(found.as_numpy("energy_joules")).all()
        taken = library.InferInput("picture", list(pixels.shape), "UINT8")
        taken.set_data_from_numpy(pixels)
        wanted = library.InferRequestedOutput("confidence", class_count=2)
        found = client.infer("digits", [taken], outputs=[wanted], parameters={"accuracy": str(edge.highest)})
        for row in found.as_numpy("confidence"):
            confidence, label, class_name = row[0].decode().split(":")
            assert 0.0 <= float(confidence) <= 1.0
            assert label == class_name
        with pytest.raises(InferenceServerException, match="it is a part of digits, other"):
            client.infer("stage0", [taken])
        with pytest.raises(InferenceServerException, match=r"the best target is"):
            client.infer("digits", [taken], parameters={"accuracy": "1"})


def test_plain_json_asks_too(edge: Running) -> None:
    one = {"name": "picture", "datatype": "UINT8", "shape": [8, 8, 1], "data": [0, 17] * 32}
    request = urllib.request.Request(
        f"http://{edge.at['HTTP']}/v2/models/digits/infer",
        json.dumps({"inputs": [one], "parameters": {"accuracy": edge.lowest, "deadline_ms": 500}}).encode(),
    )
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        found = json.load(answer)
    assert found["parameters"]["accuracy_target"] == edge.lowest
    outputs = {output["name"]: output["data"] for output in found["outputs"]}
    assert outputs["energy_joules"] == [None]
    assert outputs["stage"] == [found["parameters"]["stage"]]


def test_version_1_asks_with_files_and_with_pixels(edge: Running) -> None:
    url = f"http://{edge.at['HTTP']}/v1/models/digits:predict"
    file = {"b64": base64.b64encode(pictures()[0]).decode()}
    grey = np.asarray(Image.open(io.BytesIO(pictures()[0])).resize((8, 8)))[..., None].tolist()
    for instance in (file, {"picture": file}, grey, {"picture": grey}):
        body = json.dumps({"instances": [instance] * 2, "parameters": {"deadline_ms": "500"}}).encode()
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            first, second = json.load(answer)["predictions"]
        assert first["label"] == second["label"]


def test_an_edges_doors_have_the_bounds_of_a_board(edge: Running) -> None:
    host, port = edge.at["HTTP"].split(":")
    with socket.create_connection((host, int(port)), timeout=DEADLINE_S) as connection:
        beyond = of_board(machine_memory()).message + 1
        head = f"POST /v2/models/digits/infer HTTP/1.1\r\nhost: localhost\r\ncontent-length: {beyond}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_the_socket_asks_the_first_application_and_health_is_told_to_anyone(edge: Running, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(pictures()[0])
    command = [sys.executable, "-m", "edgesight", "query", str(tmp_path / "a.png"), "--deadline-ms", "1000", "--json"]
    command += ["--accuracy", "0.5", "--socket", str(edge.socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert json.loads(done.stdout)["accuracy_target"] == edge.lowest
    with urllib.request.urlopen(f"http://{edge.at['health']}/v2/health/ready", timeout=DEADLINE_S) as answer:
        assert answer.status == 200


def test_a_setup_says_what_is_its_own_and_has_the_rest_of_the_options() -> None:
    first, second, third = setups_of(
        Path("a"),
        ["b=c/d", "e=f=g,fabric=serial:/dev/ttyUSB0,accuracy=0.9,datacenter=[::1]:5,keys=other"],
        DEFAULT,
    )
    assert first == Setup(Path("a"), "verilated", None, None, ("10.0.0.2", 4433), Path("keys"))
    assert second == Setup(Path("c/d"), "verilated", "b", None, ("10.0.0.2", 4433), Path("keys"))
    assert third == Setup(Path("f=g"), "serial:/dev/ttyUSB0", "e", 0.9, ("::1", 5), Path("other"))
    assert setups_of(None, [], DEFAULT) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("digits", "expected NAME=PACKAGE"),
        ("=x", "expected NAME=PACKAGE"),
        ("x=", "expected NAME=PACKAGE"),
        ("x=y,speed=3", "'speed=3' is no setting"),
        ("x=y,fabric=", "'fabric=' is no setting"),
        ("x=y,fabric=a,fabric=b", "'fabric=b' is no setting"),
        ("x=y,accuracy=high", "accuracy=high: expected a share"),
        ("x=y,accuracy=2", "accuracy=2: expected a share"),
        ("x=y,accuracy=nan", "accuracy=nan: expected a share"),
        ("x=y,datacenter=here", "datacenter= here: expected HOST:PORT"),
    ],
)
def test_what_is_no_application_is_refused(text: str, said: str) -> None:
    with pytest.raises(EdgeSightError) as found:
        setups_of(None, [text], DEFAULT)
    assert said in str(found.value)


def test_applications_that_cannot_be_together_do_not_start(tmp_path: Path) -> None:
    alone = Setup(DIGITS, "csim")
    for setups, power, said in (
        ([alone, alone], None, "two applications are called digits: name them"),
        ([alone, Setup(DIGITS, "csim", "a/b")], None, "no application can be called 'a/b'"),
        ([alone, Setup(DIGITS, "csim", "b")], "hwmon:x", "several applications' energy apart"),
        ([Setup(DIGITS, "csim", name, None, ("::1", 1), tmp_path) for name in "ab"], None, "share the keys in"),
    ):
        with pytest.raises(EdgeError, match=said):
            run_edge(setups, tmp_path / "edge.sock", power=power)


def test_doors_are_opened_as_told_and_only_to_whom_they_may(tmp_path: Path) -> None:
    assert options_of(None, None, None, False, None, None, None) is None
    plain = options_of("127.0.0.1:8000", None, None, False, None, None, None)
    assert plain is not None
    assert (plain.http, plain.grpc, plain.health) == (("127.0.0.1", 8000), None, None)
    assert isinstance(plain.access, Anyone)
    tokens = tmp_path / "tokens.json"
    guarded = options_of(None, "[::1]:0", "0.0.0.0:8002", False, None, tokens, None)
    assert guarded is not None
    assert isinstance(guarded.access, ByToken)
    pem = tmp_path / "door.pem"
    pem.write_text("nothing")
    os.chmod(pem, 0o600)
    nothing: dict[str, Any] = dict.fromkeys(("http", "grpc", "health", "tls", "tokens", "clients"))
    alone = options_of(**{**nothing, "health": "127.0.0.1:1", "insecure": False})
    assert alone is not None
    assert (alone.http, alone.grpc, alone.health) == (None, None, ("127.0.0.1", 1))
    plain_door = {"http": "127.0.0.1:1", "insecure": False}
    for others, said in (
        ({"insecure": True}, "--insecure without a door"),
        ({**plain_door, "tls": pem}, "say by --tokens or --clients who may come"),
        ({**plain_door, "tls": pem, "tokens": tokens}, "must hold a private key"),
        ({**plain_door, "clients": pem}, "instead of tokens: give --tls with it"),
        ({**plain_door, "tls": pem, "tokens": tokens, "clients": pem}, "instead of tokens: give --tls with it"),
    ):
        with pytest.raises(DoorError, match=said):
            options_of(**{**nothing, **others})


def test_clients_of_the_authority_are_let_in_in_their_role_and_edges_are_not(tmp_path: Path) -> None:
    trust = make_trust(tmp_path)
    with closing(Authority(trust.datacenter)) as authority:
        for name, manages in (("asks", False), ("manages", True)):
            make_client(authority, name, tmp_path / name, manages=manages)
        tmp_path.joinpath("door.pem").write_bytes(authority.door_pem(["localhost"]))
    tmp_path.joinpath("door.pem").chmod(0o600)
    authority_file = tmp_path / "asks" / "ca.crt"
    opened = options_of("127.0.0.1:0", None, None, False, tmp_path / "door.pem", None, authority_file)
    assert opened is not None
    access = opened.access
    assert access.tls is not None
    assert access.tls.authority is not None

    def shown(path: Path) -> Peer:
        return Peer("::1", path.read_bytes())

    assert access.admit(shown(tmp_path / "asks" / "client.crt"), Role.ASK) == "asks"
    assert access.admit(shown(tmp_path / "manages" / "client.crt"), Role.MANAGE) == "manages"
    with pytest.raises(Refused, match="neither load nor unload"):
        access.admit(shown(tmp_path / "asks" / "client.crt"), Role.MANAGE)
    edge = (trust.edge / "edge.pem").read_bytes()
    with pytest.raises(Refused, match="a client of the inference protocol"):
        access.admit(Peer("::1", edge[edge.index(b"-----BEGIN CERTIFICATE") :]), Role.ASK)
    later = by_authority(access.tls, authority_file, lambda: now() + timedelta(days=365))
    with pytest.raises(Refused):
        later.admit(shown(tmp_path / "asks" / "client.crt"), Role.ASK)
    with pytest.raises(KeysError, match="holds no authority's certificate"):
        by_authority(access.tls, tmp_path / "none.crt")


def test_tokens_are_made_listed_and_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"

    def keys(*arguments: str) -> str:
        command = [sys.executable, "-m", "edgesight", "keys", *arguments, "--tokens", str(file)]
        return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout

    token = keys("token", "camera", "--days", "1").strip()
    managing = json.loads(keys("token", "owner", "--manages", "--json"))["token"]
    known = Tokens(file)
    assert known.find(token) == Client("camera", Role.ASK)
    assert known.find(managing) == Client("owner", Role.MANAGE)
    first, second = keys("tokens").splitlines()
    assert first.startswith("camera: may ask until ")
    assert second == "owner: may ask and manage"
    keys("revoke-token", "camera")
    assert known.find(token) is None
    (left,) = json.loads(keys("tokens", "--json"))
    assert (left["name"], "sha256" in left) == ("owner", False)


def test_an_edge_that_is_asked_at_its_socket_alone_tells_prometheus(tmp_path: Path) -> None:
    build_library(Package.load(DIGITS))
    asked_at = tmp_path / "edge.sock"
    words = ["edge", DIGITS, "--fabric", "csim", "--socket", asked_at, "--health", "127.0.0.1:0"]
    command = [sys.executable, "-u", "-m", "edgesight", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("edge: digits on csim")
        at = process.stdout.readline().strip().removeprefix("edge: health at ")
        picture = tmp_path / "one.png"
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
        answer = query(asked_at, picture, 0.5, 60_000.0)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{at}/metrics", timeout=DEADLINE_S) as told:
            text = told.read().decode()
        counted = f'edgesight_answers_total{{application="digits",stage="{answer.stage}",target='
        assert f'{counted}"{answer.accuracy_target:g}"}} 1.0' in text
        assert "edgesight_link_connected" not in text  # no data centre was named
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
