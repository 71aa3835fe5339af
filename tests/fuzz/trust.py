"""Keys of a data centre and of an edge, for the targets that speak QUIC."""

from __future__ import annotations

from host.datacenter.authority import Authority
from host.link.keys import client_keys
from host.link.quic import IDLE_TIMEOUT
from sim.link.trust import make_trust
from tests.fuzz.package import scratch

_TRUST = make_trust(scratch())
SERVER = Authority(_TRUST.datacenter)
CLIENT = client_keys(_TRUST.edge, IDLE_TIMEOUT)
