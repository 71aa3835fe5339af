"""Keys of a data centre and of an edge, for the targets that speak QUIC."""

from __future__ import annotations

from edgesight.host.datacenter.authority import Authority
from edgesight.host.link.keys import client_keys
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.sim.link.trust import make_trust
from tests.fuzz.package import scratch

_TRUST = make_trust(scratch())
SERVER = Authority(_TRUST.datacenter)
CLIENT = client_keys(_TRUST.edge, IDLE_TIMEOUT)
