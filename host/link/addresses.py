"""Where a host's name leads: all of its addresses, to be tried in turn.

A name such as `localhost` has an IPv6 and an IPv4 address, and a UDP socket "connects" to either whether anybody
listens there or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_MOST = 4  # addresses of a name that are tried

Found = tuple[socket.AddressFamily, tuple[str, int]]


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
