"""`edgesight datacenter` whole: edges over the link and clients at the doors ask it, and it lives through faults."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesight.host.datacenter.in_worker import EDGES
from edgesight.host.link.datagrams import Status
from edgesight.host.link.offload import NoAnswer
from edgesight.host.package import Package
from edgesight.sim.link.trust import Trust, make_trust
from tests.datacenter_program import started
from tests.host.by_hand import clear_images, sums
from tests.host.datacenter.tiny import gather, looping, put, scaled
from tests.host.offloading import connected, expected, run
from tests.waiting import wait_until

triton: Any = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed: extra `oip`")
httpx: Any = pytest.importorskip("httpx", reason="httpx is not installed: extra `dev`")
pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
Refusal: Any = pytest.importorskip("tritonclient.utils").InferenceServerException

NAME = "by-hand"  # the package's kernel, and so the model
SOON = 1.0  # seconds within which it is told that a worker is gone
LONG = 120.0


@pytest.fixture
def keys(tmp_path: Path) -> Trust:
    return make_trust(tmp_path)


def models(folder: Path) -> Path:
    put(folder, "double", scaled(2.0))
    put(folder, "table", gather(8))
    put(folder, "counter", looping())
    put(folder, "broken", b"no model")
    return folder


def doors(folder: Path) -> list[object]:
    opened: list[object] = ["--repository", folder]
    for kind in ("--http", "--grpc", "--health"):
        opened += [kind, "127.0.0.1:0"]
    return opened


def doubled(client: Any, timeout: float | None = None) -> None:
    taken = triton.InferInput("x", [1, 4], "FP32")
    taken.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32))
    assert client.infer("double", [taken], client_timeout=timeout).as_numpy("y").tolist() == [[2, 4, 6, 8]]


def picture_of(image: np.ndarray[Any, Any]) -> Any:
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "PNG")
    taken = triton.InferInput("picture", [1], "BYTES")
    taken.set_data_from_numpy(np.array([file.getvalue()], object))
    return taken


def counted(client: Any, name: str) -> Any:
    return client.get_inference_statistics(name).model_stats[0]


def test_edges_and_clients_ask_one_data_centre(
    served_package: Package, backend: Path, keys: Trust, tmp_path: Path
) -> None:
    opened = [served_package.path, "--model", backend, "--keys", keys.datacenter, "--port", 0]
    with started(*opened, *doors(models(tmp_path / "models"))) as program:
        assert program.models == f"{NAME}, counter, double, table"
        link = program.lines[0].rsplit(" ", 1)[1].rsplit(":", 1)
        with triton.InferenceServerClient(program.at["gRPC"]) as client:
            doubled(client)
            index = {entry.name: entry for entry in client.get_model_repository_index().models}
            assert (index["broken"].state, index["double"].state) == ("UNAVAILABLE", "READY")
            assert "broken is no model that ONNX Runtime can load" in index["broken"].reason
            images = clear_images(6)
            tried = int(counted(client, NAME).inference_count)  # as the link's service began
            for image in images[:3]:
                logits = client.infer(NAME, [picture_of(image)]).as_numpy("logits")
                assert np.array_equal(logits, -sums(image[None], 1))
            assert int(counted(client, NAME).inference_count) == tried + 3

            async def as_an_edge() -> None:
                async with connected((link[0], int(link[1])), keys) as edge:
                    for image in images:
                        reply = await edge.offload(image, 5.0)
                        assert (reply.status, reply.label) == (Status.ANSWERED, expected(image))

            run(as_an_edge())
            assert int(counted(client, NAME).inference_count) == tried + 3 + len(images)  # in the same process
            with pytest.raises(Refusal, match="is a kernel package's"):
                client.load_model(NAME, config="{}")
            ask_beyond(client)
            doubled(client)
            assert httpx.get(f"http://{program.at['health']}/v2/health/ready").status_code == 200
        assert program.end() == 0


TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_trace_is_followed_from_an_edge_to_its_data_centre(
    served_package: Package, backend: Path, keys: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESIGHT_LOG", "debug")
    opened = [served_package.path, "--model", backend, "--keys", keys.datacenter, "--port", 0, "--http", "127.0.0.1:0"]
    with started(*opened) as program:
        link = program.lines[0].rsplit(" ", 1)[1].rsplit(":", 1)

        async def as_an_edge() -> None:
            async with connected((link[0], int(link[1])), keys) as edge:
                for trace in (None, f"00-{TRACE}-b7ad6b7169203331-01"):
                    (image,) = clear_images(1)
                    reply = await edge.offload(image, 5.0, 0.9, trace)
                    assert (reply.status, reply.label) == (Status.ANSWERED, expected(image))

        run(as_an_edge())
        program.process.send_signal(signal.SIGTERM)
        _, log = program.process.communicate(timeout=LONG)
        (told,) = [json.loads(line[line.index("{") :]) for line in log.splitlines() if '"trace"' in line]
        assert told.pop("milliseconds") > 0.0
        assert told == {
            "trace": TRACE,
            "model": program.lines[0].split()[3],
            "caller": "door",
            "code": "ANSWERED",
        }


def ask_beyond(client: Any) -> None:
    """A row that the model's table has not: it raises."""
    taken = triton.InferInput("i", [1, 1], "INT64")
    taken.set_data_from_numpy(np.array([[99]]))
    with pytest.raises(Refusal, match="model table failed: ") as failed:
        client.infer("table", [taken])
    assert failed.value.status() == "StatusCode.INTERNAL"


def test_a_killed_worker_is_told_of_at_once_and_comes_back(
    served_package: Package, backend: Path, keys: Trust, tmp_path: Path
) -> None:
    put(tmp_path / "models", "counter", looping())
    opened = [served_package.path, "--model", backend, "--keys", keys.datacenter, "--port", 0]
    with (
        started(*opened, *doors(tmp_path / "models")) as program,
        triton.InferenceServerClient(program.at["gRPC"]) as client,
        concurrent.futures.ThreadPoolExecutor() as threads,
    ):
        counting = threads.submit(client.infer, "counter", [count_to(1 << 40)])
        wait_until(lambda: busy(program.workers()), LONG)
        killed = time.monotonic()
        for worker in program.workers():
            os.kill(worker, signal.SIGKILL)
        with pytest.raises(Refusal, match="the worker of model counter ended: ask again") as lost:
            counting.result(LONG)
        assert time.monotonic() - killed < SOON
        assert lost.value.status() == "StatusCode.UNAVAILABLE"

        refused: list[str] = []

        def back() -> bool:
            try:
                return int(client.infer("counter", [count_to(5)]).as_numpy("y")) == 5
            except Refusal as error:
                refused.append(error.status())
                return False

        wait_until(back, LONG)
        assert set(refused) <= {"StatusCode.UNAVAILABLE"}
        link = program.lines[0].rsplit(" ", 1)[1].rsplit(":", 1)

        async def as_an_edge() -> None:
            async with connected((link[0], int(link[1])), keys) as edge:
                (image,) = clear_images(1)
                while True:
                    with contextlib.suppress(NoAnswer):  # as long as its worker is not back
                        reply = await edge.offload(image, 5.0)
                        assert reply.label == expected(image)
                        return

        run(as_an_edge())


def busy(workers: list[int]) -> bool:
    """Whether one of them has had a tenth of a second of a processor since it began to count."""
    taken = [int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[11]) for worker in workers]
    before = busy.__dict__.setdefault("before", taken)
    return any(now - then > os.sysconf("SC_CLK_TCK") / 10 for now, then in zip(taken, before, strict=True))


def count_to(number: int) -> Any:
    taken = triton.InferInput("n", [], "INT64")
    taken.set_data_from_numpy(np.array(number))
    return taken


def test_a_data_centre_for_edges_alone_tells_prometheus(served_package: Package, backend: Path, keys: Trust) -> None:
    words = [served_package.path, "--model", backend, "--keys", keys.datacenter, "--port", 0]
    with started(*words, "--health", "127.0.0.1:0") as program:
        assert set(program.at) == {"health"}
        link = program.lines[0].rsplit(" ", 1)[1].rsplit(":", 1)

        async def as_an_edge() -> str:
            async with connected((link[0], int(link[1])), keys) as edge:
                for image in clear_images(3):
                    assert (await edge.offload(image, 20.0)).label == expected(image)
                told = await asyncio.to_thread(httpx.get, f"http://{program.at['health']}/metrics", trust_env=False)
                return str(told.text)

        text = run(as_an_edge())
        assert 'edgesight_link_requests_total{outcome="answered"} 3.0' in text
        assert "edgesight_link_edges 1.0" in text
        assert program.end() == 0


def test_a_terminated_data_centre_answers_what_it_has_let_in(tmp_path: Path) -> None:
    put(tmp_path / "models", "counter", looping())
    with (
        started(*doors(tmp_path / "models")) as program,
        triton.InferenceServerClient(program.at["gRPC"]) as client,
        concurrent.futures.ThreadPoolExecutor() as threads,
    ):
        turns = 1_000
        took = 0.0
        while took < 1.0:  # long enough that it is still at work when it is told to end
            turns *= 2
            begun = time.monotonic()
            client.infer("counter", [count_to(turns)])
            took = time.monotonic() - begun
        counting = threads.submit(client.infer, "counter", [count_to(turns)])
        time.sleep(took / 4)  # sleeps: it is at work by then
        program.process.send_signal(signal.SIGTERM)
        assert int(counting.result(LONG).as_numpy("y")) == turns
        program.process.communicate(timeout=LONG)
        assert program.process.returncode == 0


def test_clients_show_certificates_of_the_data_centres_authority(tmp_path: Path) -> None:
    put(tmp_path / "models", "double", scaled(2.0))
    keys = make_trust(tmp_path)
    given: dict[str, list[str]] = {"asks": [], "manages": ["--manages"]}
    for name, more in given.items():
        command = ["datacenter", "client", name, tmp_path / name, "--keys", keys.datacenter, *more]
        subprocess.run([sys.executable, "-m", "edgesight", *map(str, command)], check=True, capture_output=True)

    def connect(at: str, name: str) -> Any:
        folder = tmp_path / name
        return triton.InferenceServerClient(
            at.replace("127.0.0.1", "localhost"),
            ssl=True,
            root_certificates=str(folder / "ca.crt"),
            private_key=str(folder / "client.key"),
            certificate_chain=str(folder / "client.crt"),
        )

    opened: list[object] = ["--keys", keys.datacenter, "--name", "localhost", *doors(tmp_path / "models")]
    with started(*opened) as program:
        with connect(program.at["gRPC"], "asks") as client:
            doubled(client)
            with pytest.raises(Refusal, match="client 'asks' may ask, but neither load nor unload"):
                client.unload_model("double")
            revoking = ["datacenter", "revoke", "asks", "--keys", str(keys.datacenter)]
            subprocess.run([sys.executable, "-m", "edgesight", *revoking], check=True, capture_output=True)

            refused: list[str] = []

            def shut_out() -> bool:
                try:
                    doubled(client)
                except Refusal as error:
                    refused.append(str(error))
                return bool(refused)

            wait_until(shut_out)
            assert "was revoked or has expired" in refused[0]
        with connect(program.at["gRPC"], "manages") as client:
            client.unload_model("double")
            client.load_model("double")
            doubled(client)
        for file, part in (("client.key", "PRIVATE KEY"), ("client.crt", "CERTIFICATE")):
            (tmp_path / "manages" / file).write_text(part_of((keys.edge / "edge.pem").read_text(), part))
        with connect(program.at["gRPC"], "manages") as edge, pytest.raises(Refusal, match="client's certificate"):
            doubled(edge)
        assert program.end() == 0


def part_of(pem: str, part: str) -> str:
    """The first PEM block of a kind."""
    found = re.search(f"-----BEGIN {part}-----.*?-----END {part}-----\n", pem, re.DOTALL)
    assert found is not None
    return found[0]


def test_a_client_over_its_quota_is_told_when_to_come_again(tmp_path: Path) -> None:
    put(tmp_path / "models", "double", scaled(2.0))
    with (
        started("--quota", "0.5", "--quota", "door-cam=100", *doors(tmp_path / "models")) as program,
        triton.InferenceServerClient(program.at["gRPC"]) as client,
    ):
        doubled(client)
        with pytest.raises(Refusal, match=r"127\.0\.0\.1 may ask for 0\.5 requests a second"):
            doubled(client)


REFUSED: dict[str, tuple[list[object], str]] = {
    "nothing": ([], "nothing is given to serve"),
    "no keys": (["{package}"], "edges are let in by keys"),
    "no keys, and health": (["{package}", "--health", "127.0.0.1:0"], "edges are let in by keys"),
    "no door": (["--repository", "models"], "--repository without a door: open one by --http or --grpc"),
    "no door but for health": (["--repository", "models", "--health", "127.0.0.1:0"], "--repository without a door"),
    "a model for nobody": (["--model", "m.onnx", "--http", "127.0.0.1:0", "--repository", "."], "name the package"),
    "nothing to serve": (["--http", "127.0.0.1:0"], "nothing is given to serve"),
    "an open door": (["--repository", ".", "--http", "0.0.0.0:0"], "give --keys, by which they are encrypted"),
    "no name": (
        ["--repository", ".", "--http", "0.0.0.0:0", "--keys", "{keys}"],
        "say by --name HOST by which name clients find them",
    ),
    "plain and encrypted": (
        ["--repository", ".", "--http", "0.0.0.0:0", "--keys", "{keys}", "--name", "a", "--insecure"],
        "--name encrypts, and --insecure does not",
    ),
    "two certificates": (
        ["--repository", ".", "--http", "0.0.0.0:0", "--name", "a", "--tls", "t.pem"],
        "leave one of them out",
    ),
    "no folder": (["--repository", "none", "--http", "127.0.0.1:0"], "none is no folder"),
    "a quota that is none": (
        ["--repository", ".", "--http", "127.0.0.1:0", "--quota", "x=many"],
        "--quota x=many: expected requests a second",
    ),
    "replicas of one machine": (
        ["--repository", ".", "--http", "127.0.0.1:0", "--replicas", "1:2"],
        "--replicas is for replicas: say --engine ray, or leave it out",
    ),
    "replicas without a door": (["--repository", ".", "--engine", "ray"], "--repository without a door"),
    "memory of replicas": (
        ["--repository", ".", "--http", "127.0.0.1:0", "--engine", "ray", "--memory", "100"],
        "say by --models-per-replica how many a replica holds",
    ),
    "replicas that are none": (
        ["--repository", ".", "--http", "127.0.0.1:0", "--engine", "ray", "--replicas", "3:2"],
        "--replicas 3:2: expected MIN:MAX",
    ),
    "no cluster": (
        ["--repository", ".", "--http", "127.0.0.1:0", "--engine", "ray", "--ray", "nobody"],
        "the cluster at nobody cannot be joined",
    ),
    "two quotas": (["--repository", ".", "--http", "127.0.0.1:0", "--quota", "1", "--quota", "2"], "everyone has one"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_keeps_it_from_serving_is_named(
    case: tuple[list[object], str], served_package: Package, keys: Trust, tmp_path: Path
) -> None:
    given, message = case
    named = [str(one).format(package=served_package.path, keys=keys.datacenter) for one in given]
    command = [sys.executable, "-m", "edgesight", "datacenter", "serve", *named]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=LONG, check=False)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert message in " ".join((done.stdout + done.stderr).split())


def test_edges_are_one_caller_whom_no_client_can_pass_for() -> None:
    from edgesight.host.link.keys import KeysError, check_edge_name

    with pytest.raises(KeysError):
        check_edge_name(EDGES)


def test_the_loop_is_free_while_models_load(tmp_path: Path) -> None:
    """Readiness is not liveness: doors are open, and say that it is not ready, before models are loaded."""
    put(tmp_path / "models", "double", scaled(2.0))

    async def test() -> None:
        from edgesight.host.datacenter.application import DataCentre
        from edgesight.host.datacenter.local import Local
        from edgesight.host.datacenter.repository import Repository
        from edgesight.host.doors.serve import Options, open_doors

        async with (
            DataCentre(Repository(tmp_path / "models"), Local(1 << 30)) as centre,
            open_doors(centre, Options(None, ("127.0.0.1", 0), ("127.0.0.1", 0))) as at,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            assert at.health is not None
            url = f"http://{at.health[0]}:{at.health[1]}/v2/health"
            assert (await client.get(f"{url}/live")).status_code == 200
            assert (await client.get(f"{url}/ready")).status_code == 503
            await centre.start()
            assert (await client.get(f"{url}/ready")).status_code == 200
            centre.close_to_new()
            assert (await client.get(f"{url}/ready")).status_code == 503
            assert (await client.get(f"{url}/live")).status_code == 200

    asyncio.run(test())
