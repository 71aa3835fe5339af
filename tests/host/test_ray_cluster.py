"""What cannot be joined is said at once."""

from __future__ import annotations

import socket
import time

import pytest

from edgesight.host.ray_cluster import ClusterError, joined

pytest.importorskip("ray")


def test_an_address_at_which_nobody_listens_is_said_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    begun = time.monotonic()
    for address in (f"127.0.0.1:{port}", "127.0.0.1:99999"):
        with (
            pytest.raises(ClusterError, match=rf"the cluster at {address} cannot be joined \(.+\): see"),
            joined(address),
        ):
            pass
    assert time.monotonic() - begun < 20  # Ray itself tries for minutes
