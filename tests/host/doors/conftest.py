"""Doors that are open while a file's tests run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.host.doors.small import Small, running


@dataclass(frozen=True)
class Doors:
    """Plain doors on loopback, and what is behind them."""

    served: Small
    grpc: str
    http: str
    health: str


@pytest.fixture
def served() -> Small:
    return Small()


@pytest.fixture
def doors(served: Small) -> Iterator[Doors]:
    with running(served) as found:
        assert found.grpc is not None and found.http is not None and found.health is not None
        yield Doors(
            served,
            f"127.0.0.1:{found.grpc[1]}",
            f"http://127.0.0.1:{found.http[1]}",
            f"http://127.0.0.1:{found.health[1]}",
        )
