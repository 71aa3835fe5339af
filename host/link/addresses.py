"""Where a user's HOST:PORT leads: all of the host's addresses, to be tried in turn.

A name such as `localhost` has an IPv6 and an IPv4 address, and a UDP socket "connects" to either whether anybody
listens there or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from edgesight.host.errors import EdgeSightError

_MOST = 4  # addresses of a name that are tried


class AddressError(EdgeSightError, ValueError):
    """What should name a host and a port does not: says what would."""


Found = tuple[socket.AddressFamily, tuple[str, int]]


def host_and_port(text: str, option: str = "", *, least: int = 1) -> tuple[str, int]:
    """Host and port that `text` names as HOST:PORT, the port at least `least`; raises AddressError for anything else.

    `option` is what the text was given to, for the error.
    """
    host, _, port = text.rpartition(":")
    host = host.strip("[]")  # of an IPv6 address
    # Python makes a number of at most 4,300 digits.
    if not host or not port.isdecimal() or len(port) > 5 or not least <= int(port) < 65_536:
        raise AddressError(f"{option} {text[:80]}: expected HOST:PORT, such as 10.0.0.2:4433".lstrip())
    return host, int(port)


def joined(host: str, port: int) -> str:
    """HOST:PORT, as `host_and_port` takes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def addresses(host: str, port: int) -> list[Found]:
    """Family and address of each way to UDP `host`:`port`, the likeliest first; raises OSError or ValueError."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, host)
            return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    distinct: dict[Found, None] = {}
    for kind, *_, address in found:
        distinct[kind, (str(address[0]), int(address[1]))] = None
    return list(distinct)[:_MOST]
