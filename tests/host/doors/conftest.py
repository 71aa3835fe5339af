"""Plain doors that are open while a test runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.host.doors.small import Small, running

# A connection for each request; without certificates, whose reading takes longer than most tests.
CLIENT = httpx.Client(verify=False, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


@dataclass(frozen=True)
class Doors:
    """Plain doors on loopback, and what is behind them."""

    served: Small
    grpc: str
    http: str
    health: str


@contextlib.contextmanager
def opened() -> Iterator[Doors]:
    served = Small()
    with running(served) as found:
        assert found.grpc is not None
        assert found.http is not None
        assert found.health is not None
        yield Doors(
            served,
            f"127.0.0.1:{found.grpc[1]}",
            f"http://127.0.0.1:{found.http[1]}",
            f"http://127.0.0.1:{found.health[1]}",
        )


@pytest.fixture
def doors() -> Iterator[Doors]:
    with opened() as found:
        yield found


@pytest.fixture(scope="module")
def shared() -> Iterator[Doors]:
    """For tests that leave no trace in what is behind."""
    with opened() as found:
        yield found
