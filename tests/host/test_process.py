"""What a program writes of itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging
import warnings
from edgesight.host.process import write_log
write_log()
link = logging.getLogger("edgesight.host.link")
link.info("connected")
link.warning("a client said x\\nedge 'door' was enrolled\\x1b[2J\\u202e, %s", "y" * 5_000)
logging.getLogger("another.library").warning("chatter")
logging.getLogger("another.library").error("a fault")
logging.getLogger("host").debug("detail")
warnings.warn("a certificate has a negative serial number", FutureWarning)
"""


def test_a_log_has_times_and_levels_and_one_line_for_each_thing_said() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} "
    assert re.fullmatch(at + "INFO connected", lines[0])
    assert re.match(at + r"WARNING a client said x\\nedge 'door' was enrolled\\x1b\[2J\\u202e, y+", lines[1])
    assert len(lines[1]) < 600
    assert re.fullmatch(at + "ERROR a fault", lines[2])
    assert len(lines) == 3
    assert all(character.isprintable() for line in lines for character in line)


def test_whoever_looks_for_a_fault_sees_more_of_ours_and_no_more_of_libraries() -> None:
    program = PROGRAM + "\nlink.debug('detail of ours')"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env={**os.environ, "EDGESIGHT_LOG": "debug"},
    )
    lines = done.stderr.splitlines()
    assert len(lines) == 4
    assert lines[3].endswith("DEBUG detail of ours")


GREETED = """
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from edgesight.host.datacenter.authority import make_authority
from edgesight.host.process import write_log
write_log()
import grpc
make_authority(Path(sys.argv[1]))
pem = (Path(sys.argv[1]) / "server.pem").read_bytes()
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
server.start()
with socket.create_connection(("127.0.0.1", port), 10.0) as stranger:
    stranger.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    while stranger.recv(1024):
        pass
server.stop(0).wait()
print("refused")
"""


def test_a_stranger_at_an_encrypted_door_writes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed: extra `oip`")
    command = [sys.executable, "-c", GREETED, str(tmp_path / "keys")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
