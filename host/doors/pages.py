"""Web pages kept out: whoever's page a browser shows, it can make that browser ask a door on the same machine.

A page may send some requests anywhere, though it is not shown the answers; and what comes from a name of its own that
was made to lead to this machine (DNS rebinding) it is shown, too; and so it is whether a picture is there that it takes
in. So a door answers no page but its own, the live one; and a plain door on loopback only who calls it by an address or
by a name of its own. A link to the live page may be followed from anywhere.

Words owned here: page, origin (scheme, host and port that a page came from).
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response

from edgesight.host.doors.bodies import write_json
from edgesight.host.doors.tensors import shown


class OwnPages:
    """An ASGI application, whose requests do not come from others' pages."""

    def __init__(self, app: Any, names: frozenset[str] | None) -> None:
        """`names`, in lower case, are taken in the header `host`, and IP addresses; None: all."""
        self._app, self._names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, or refuse: 403 what another's page asks, 421 what is meant for another host."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refusal is None else refusal)(scope, receive, send)

    def _refusal(self, scope: Any) -> Response | None:
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        names = self._names
        if names is not None:
            for host in hosts:
                if not _is_own(host, names):
                    return _error(421, f"host {shown(host)} is not served here: use the door's address, or localhost")
        said = {name: value for name, value in headers if name.startswith(b"sec-fetch-")}  # by today's browsers
        strange = said.get(b"sec-fetch-site") in (b"cross-site", b"same-site")
        if strange and (said.get(b"sec-fetch-mode"), said.get(b"sec-fetch-dest")) != (b"navigate", b"document"):
            return _error(403, "other web pages may not ask here: ask from a program")
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        own = f"{scope['scheme']}://{hosts[0]}".lower() if hosts else None
        for origin in origins:
            if origin.lower() != own:
                return _error(403, f"web pages of {shown(origin)} may not ask here: ask from a program")
        return None


def _is_own(host: str, names: frozenset[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name.rstrip(".") in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _error(status: int, message: str) -> Response:
    # The body, if any, is not read.
    return Response(write_json({"error": message}), status, {"connection": "close"}, "application/json")
