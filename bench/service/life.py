"""The data centre through what may befall it: kills of a worker and of all, its end under load, bad files, no room.

All is done to `edgesight datacenter serve` as users start it, with tritonclient's clients, HTTP's, and an edge over the
link. What is accepted and told to end is counted by the service's own log (EDGESIGHT_LOG=debug).

Words owned here: outage (from the kill of a service until it was started again).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edgesight.bench.kept import ROOT, Found
from edgesight.bench.link.programs import ACCURACY, ALLOWANCE_S, offloading_package
from edgesight.bench.service import load
from edgesight.bench.service.asked import Asked
from edgesight.bench.service.full_disk import full_disk
from edgesight.bench.service.outcome import Outcome, Part, of_parts
from edgesight.bench.service.program import asked, client_of, doubles, edge, serving, wait_for
from edgesight.bench.service.tiny import gather, looping, put, scaled
from edgesight.host.answer import Answer
from edgesight.host.queries import query
from edgesight.sim.link.trust import make_trust

TOLD_WITHIN_S = 1.0  # until who asks a killed worker is told
BACK_WITHIN_S = 15.0  # until it answers again: Python and ONNX Runtime are started anew
EDGE_BACK_WITHIN_S = 10.0  # until an edge's answers are the data centre's again
_LONG_S = 60.0
_FOREVER = 1 << 40  # turns of the counting model
_ASK_EVERY_S = 0.02
_DEADLINE_S = 0.5  # of a query to the edge
_OUTAGE_S = 4.0
_LOADED_S = 3.0  # under load, before anything is done to it
_DEBUG = {"EDGESIGHT_LOG": "debug"}
_PACKAGE = ROOT / "bitstreams" / "digits"


def measure(given: Asked, folder: Path, console: Console, names: Sequence[str] = ()) -> Found:
    """All parts, or those called `names`."""
    return of_parts(PARTS, folder, console, names).found()


# ------------------------------------------------------------------------------------------------------------- a worker


def killed_worker(place: Path, outcome: Outcome) -> None:
    """A worker at work is killed: who asked it is told, it comes back, and other models notice nothing."""
    put(place / "models", "counter", looping())
    put(place / "models", "double", scaled(2.0))
    with (
        serving(place / "log", "--repository", place / "models") as service,
        client_of(service) as client,
        client_of(service) as other,
        ThreadPoolExecutor(2, "asker") as threads,
    ):
        before = service.workers()
        counting = threads.submit(asked, client, "counter", "n", np.array(_FOREVER))

        def busy() -> list[int]:
            return [pid for pid, cpu in service.workers().items() if cpu > before.get(pid, 0.0) + 0.2]

        wait_for("a worker at work", lambda: bool(busy()), _LONG_S)
        over = threading.Event()
        others = threads.submit(_asked_meanwhile, other, over)
        (worker,) = busy()
        killed = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        _, said = counting.result(_LONG_S)
        outcome.at_most("told to who asked within", time.monotonic() - killed, TOLD_WITHIN_S, "s")
        outcome.holds("told as UNAVAILABLE", said.startswith("StatusCode.UNAVAILABLE"), said)
        refused: list[str] = []

        def back() -> bool:
            found, why = asked(client, "counter", "n", np.array(5))
            refused.append(why)
            return found is not None and int(found) == 5

        wait_for("the killed worker's model", back, _LONG_S)
        outcome.at_most("answers again within", time.monotonic() - killed, BACK_WITHIN_S, "s")
        wrong = [why for why in refused if why and not why.startswith("StatusCode.UNAVAILABLE")]
        outcome.at_most("refusals meanwhile other than UNAVAILABLE", len(wrong), 0, "requests")
        over.set()
        count, failed, slowest = others.result(_LONG_S)
        outcome.at_most("other models' requests that failed", failed, 0, f"of {count} requests")
        outcome.tell("slowest answer of another model meanwhile", slowest, "s")


def _asked_meanwhile(client: Any, over: threading.Event) -> tuple[int, int, float]:
    """How many requests there were of the other model, how many failed, and the slowest's seconds."""
    count, failed, slowest = 0, 0, 0.0
    while not over.wait(_ASK_EVERY_S):
        begun = time.monotonic()
        count += 1
        failed += not doubles(client)
        slowest = max(slowest, time.monotonic() - begun)
    return count, failed, slowest


# ----------------------------------------------------------------------------------------------------- the whole of it


@dataclass(frozen=True)
class _Query:
    """What became of a query to the edge. Times are of the monotonic clock."""

    begun: float
    ended: float
    answer: Answer | None
    error: str

    @property
    def sound(self) -> bool:
        """The data centre answered in time."""
        return self.answer is not None and self.answer.stage == "datacenter" and not self.answer.degraded


def killed_service(place: Path, outcome: Outcome) -> None:
    """All of it is killed while an edge asks over the link: the edge answers meanwhile, and finds it again itself."""
    from edgesight.hls.csim import build_library

    package = offloading_package(_PACKAGE, place / "package")
    build_library(package)
    trust = make_trust(place)
    np.save(place / "picture.npy", np.load(_PACKAGE / "vectors.npz")["images"][0])
    words = [package.path, "--keys", trust.datacenter]
    queries: list[_Query] = []
    over = threading.Event()
    with serving(place / "log", *words, link=True) as service:
        socket = place / "edge.sock"
        ask = [package.path, "--fabric", "csim", "--socket", socket, "--keys", trust.edge, "--datacenter", service.link]
        with edge(place / "edge.log", *ask):
            asker = threading.Thread(target=_query, args=(socket, place / "picture.npy", queries, over), daemon=True)
            asker.start()
            wait_for("an answer of the data centre's", lambda: any(one.sound for one in queries), _LONG_S)
            workers = service.workers()
            killed = time.monotonic()
            service.tell(signal.SIGKILL)
            service.wait(_LONG_S)
            wait_for("the end of its workers", lambda: not any(map(_runs, workers)), _LONG_S)
            outcome.tell("its workers are gone after", time.monotonic() - killed, "s")
            time.sleep(_OUTAGE_S)
            again = time.monotonic()
            service.start()
            ready = time.monotonic()
            try:
                wait_for("answers of the data centre's, again", lambda: queries[-1].sound, _LONG_S)
            finally:
                over.set()
                asker.join(_LONG_S)
    meanwhile = [one for one in queries if killed < one.begun and one.ended < again]
    first = next(one.ended for one in queries if one.begun > again and one.sound)
    late = sum(one.ended - one.begun > _DEADLINE_S + ALLOWANCE_S for one in queries)
    outcome.at_most(
        "queries of the edge without an answer",
        sum(one.answer is None for one in queries),
        0,
        f"of {len(queries)}",
    )
    outcome.at_most("answers after their deadline", late, 0, f"of {len(queries)}")
    unmarked = sum(one.answer is not None and not one.answer.degraded for one in meanwhile)
    outcome.at_most("answers in the outage not marked degraded", unmarked, 0, f"of {len(meanwhile)}")
    outcome.holds("the edge was asked in the outage", len(meanwhile) >= 5, len(meanwhile))
    outcome.at_most("the edge is back after it is ready", max(first - ready, 0.0), EDGE_BACK_WITHIN_S, "s")


def _query(socket: Path, picture: Path, queries: list[_Query], over: threading.Event) -> None:
    while not over.is_set():
        begun, answer, error = time.monotonic(), None, ""
        try:
            answer = query(socket, picture, ACCURACY, _DEADLINE_S * 1e3)
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"
        queries.append(_Query(begun, time.monotonic(), answer, error))
        time.sleep(_ASK_EVERY_S)


def _runs(pid: int) -> bool:
    """Whether that process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ended_under_load(place: Path, outcome: Outcome) -> None:
    """Told to end while many ask: what it has let in is answered or refused, and it ends well."""
    put(place / "models", load.MODEL, scaled(2.0))
    with serving(place / "log", "--repository", place / "models", environment=_DEBUG) as service:
        with load.asking(service.grpc, service.http, calls=24, streams=4, posts=12, again=False) as loaded:
            time.sleep(_LOADED_S)
            before = loaded.total
            service.tell(signal.SIGTERM)
            begun = time.monotonic()
            status = service.wait(_LONG_S)
            took = time.monotonic() - begun
        codes = service.codes()
    answered = loaded.attempts[load.ANSWERED]
    outcome.holds("exit status 0", status == 0, status)
    outcome.tell("it takes", took, "s")
    outcome.tell("answers until then", answered, "requests")
    outcome.tell("HTTP requests that nobody read, with their connection", loaded.attempts[load.CUT], "requests")
    outcome.holds("it was loaded", before >= 100, before)
    lost = loaded.attempts[load.LOST] + loaded.attempts[load.TORN]
    outcome.at_most("requests lost, torn, or hung", lost, 0, "requests")
    outcome.at_most("wrong answers", loaded.attempts[load.WRONG], 0, "requests")
    outcome.at_most("answers that did not reach who asked", codes["OK"] - answered, 0, "requests")
    unfit = {code: count for code, count in codes.items() if code not in ("OK", "UNAVAILABLE")}
    outcome.at_most("accepted, and neither answered nor UNAVAILABLE", sum(unfit.values()), 0, "requests")
    outcome.at_most("exceptions that nobody handled", service.faults(), 0, "exceptions")
    outcome.said[outcome.part] = {"attempts": dict(loaded.attempts), "codes": dict(codes), "lost": loaded.lost}


def restarted(place: Path, outcome: Outcome) -> None:
    """Ended, started, killed and started again while clients ask: who asks again loses nothing."""
    put(place / "models", load.MODEL, scaled(2.0))
    with (
        serving(place / "log", "--repository", place / "models") as service,
        load.asking(service.grpc, service.http, calls=12, streams=0, posts=8, again=True) as loaded,
    ):
        for number in (signal.SIGTERM, signal.SIGKILL):
            time.sleep(_LOADED_S)
            service.tell(number)
            service.wait(_LONG_S)
            service.start()
        done = loaded.attempts[load.ANSWERED]
        wait_for("answers after the last start", lambda: loaded.attempts[load.ANSWERED] > done + 50, _LONG_S)
    outcome.at_most(
        "requests that clients never got an answer to",
        loaded.unanswered,
        0,
        f"of {loaded.attempts[load.ANSWERED]}",
    )
    outcome.at_most("wrong answers", loaded.attempts[load.WRONG], 0, "requests")
    outcome.at_most("refusals that do not say to ask again", loaded.attempts[load.LOST], 0, "attempts")
    outcome.said[outcome.part] = {"attempts": dict(loaded.attempts), "lost": loaded.lost}


# ------------------------------------------------------------------------------------------------- files, models, disks


def corrupt_file(place: Path, outcome: Outcome) -> None:
    """No models among the models, at the start and in the place of one that is served."""
    good = scaled(2.0)
    put(place / "models", "double", good)
    put(place / "models", "broken", good[: len(good) // 2])
    with serving(place / "log", "--repository", place / "models") as service, client_of(service) as client:
        import tritonclient.grpc as triton

        entries = {one.name: one for one in client.get_model_repository_index().models}
        reason = entries["broken"].reason
        outcome.holds("named at the start", entries["broken"].state == "UNAVAILABLE" and "broken" in reason, reason)
        outcome.holds("the others are served", doubles(client), "double does not answer")
        kept, named = True, True
        for content in (good[: len(good) // 2], b"", b"no model", os.urandom(1 << 16)):
            put(place / "models", "double", content)
            try:
                client.load_model("double", client_timeout=_LONG_S)
                named = False
            except triton.InferenceServerException as error:
                named &= "double" in error.message() and error.status() == "StatusCode.INVALID_ARGUMENT"
                outcome.said[outcome.part] = error.message()
            kept &= doubles(client)
        outcome.holds("refused by name in place of a model", named, outcome.said.get(outcome.part))
        outcome.holds("the one that is served stays", kept, "double does not answer as before")
        (worker,) = [pid for pid in service.workers()][:1]
        put(place / "models", "double", scaled(3.0))
        client.load_model("double", client_timeout=_LONG_S)
        outcome.holds("a good one takes its place", doubles(client, 3.0), f"worker {worker}")
        outcome.at_most("exceptions that nobody handled", service.faults(), 0, "exceptions")


def raising_model(place: Path, outcome: Outcome) -> None:
    """A model that raises for some inputs, asked by many at a time."""
    put(place / "models", "table", gather(8))
    with (
        serving(place / "log", "--repository", place / "models") as service,
        client_of(service) as client,
        ThreadPoolExecutor(8, "asker") as threads,
    ):
        rows = [7 if one % 4 else 99 for one in range(64)]
        workers = set(service.workers())
        found = list(threads.map(lambda row: asked(client, "table", "i", np.array([[row]])), rows))
        named = [why for (_, why), row in zip(found, rows, strict=True) if row == 99]
        good = sum(why.startswith("StatusCode.INTERNAL: model table failed: ") for why in named)
        outcome.at_most("failures that are not told by its name", len(named) - good, 0, f"of {len(named)}")
        wrong = sum(y is None or float(y[0, 0]) != 7 for (y, _), row in zip(found, rows, strict=True) if row == 7)
        outcome.at_most("others in the same batches without their answer", wrong, 0, "requests")
        outcome.holds("its worker goes on", workers == set(service.workers()), service.said()[-500:])
        outcome.at_most("exceptions that nobody handled", service.faults(), 0, "exceptions")


PARTS: dict[str, Part] = {
    "killed worker": killed_worker,
    "killed service": killed_service,
    "ended under load": ended_under_load,
    "restarted": restarted,
    "corrupt file": corrupt_file,
    "raising model": raising_model,
    "full disk": full_disk,
}
