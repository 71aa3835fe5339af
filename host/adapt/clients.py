"""Who sends frames: known by name and caller, forgotten when silent, held to the rate that it said.

Where callers are told apart, by token or certificate, a name belongs to its caller: nobody speaks for another's client.
All that a stranger can make this keep is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edgesight.host.adapt.asked import Said
from edgesight.host.adapt.planning import Place, Wants
from edgesight.host.doors.served import Code, Refused

SILENT_S: Final = 5.0  # after which a client is forgotten, or three of its frames' intervals where those are longer
MOST: Final = 64  # clients, of all callers
MOST_OF_CALLER: Final = 16
MOST_WAITING: Final = 8  # frames of one client
_BURST: Final = 8.0  # frames that may come sooner than the rate has them
_SLACK: Final = 1.1  # times the rate that a client may send at


@dataclass(eq=False)
class Client:
    """One that is known.

    Attributes:
        name: in plans.
        heard: when its last frame came.
        place: in the plan; None: it is not served.
        waiting: its frames that have no answer yet.
    """

    name: str
    caller: str
    wants: Wants
    heard: float
    place: Place | None = None
    waiting: int = 0
    room: float = _BURST  # frames that it may send now

    def take(self, now: float) -> None:
        """A frame came; raises Refused (RESOURCE_EXHAUSTED) where too many do."""
        since = max(now - self.heard, 0.0)
        self.heard = now
        self.room = min(self.room + since * self.wants.rate * _SLACK, _BURST)
        if self.waiting >= MOST_WAITING:
            raise Refused(
                Code.RESOURCE_EXHAUSTED, f"{self.waiting} of your frames wait, the most that may: send fewer", 0.1
            )
        if self.room < 1.0:
            raise Refused(
                Code.RESOURCE_EXHAUSTED,
                f"more frames come than the {self.wants.rate:g} a second that were said: send fewer, or say more",
                1.0 / self.wants.rate,
            )
        self.room -= 1.0


class Clients:
    """All that are known."""

    def __init__(self) -> None:
        """None is."""
        self._known: dict[tuple[str, str], Client] = {}  # by caller and name
        self._of_caller: Counter[str] = Counter()
        self._number = 0

    def __len__(self) -> int:
        """How many."""
        return len(self._known)

    def __iter__(self) -> Iterator[Client]:
        """Each, whoever came first first."""
        return iter(self._known.values())

    def met(self, caller: str, said: Said, now: float) -> tuple[Client | None, bool]:
        """The client that a frame is of, and whether it, or what it wants, is new; None where it does not know its link

        and is not known. Raises Refused (RESOURCE_EXHAUSTED).
        """
        client = self._known.get((caller, said.client))
        if client is None:
            return (None, False) if said.wants is None else (self._new(caller, said.client, said.wants, now), True)
        client.take(now)
        wants = said.wants or client.wants
        changed = (wants.slo_ms, wants.rate) != (client.wants.slo_ms, client.wants.rate)
        client.wants = wants
        return client, changed

    def _new(self, caller: str, name: str, wants: Wants, now: float) -> Client:
        for held, most in ((self._of_caller[caller], MOST_OF_CALLER), (len(self._known), MOST)):
            if held >= most:
                raise Refused(
                    Code.RESOURCE_EXHAUSTED,
                    f"{held} clients are known, the most that may be: ask again once one was silent for {SILENT_S:g} s",
                    SILENT_S,
                )
        self._number += 1
        client = self._known[caller, name] = Client(f"client-{self._number}", caller, wants, now)
        self._of_caller[caller] += 1
        client.take(now)
        return client

    def forget_silent(self, now: float) -> int:
        """Forget who has said nothing for long and waits for nothing; returns how many."""
        gone = [
            key
            for key, client in self._known.items()
            if not client.waiting and now - client.heard > max(SILENT_S, 3.0 / client.wants.rate)
        ]
        for key in gone:
            del self._known[key]
            self._of_caller[key[0]] -= 1
        self._of_caller += Counter()  # drops those of none
        return len(gone)

    def wants(self) -> Mapping[str, Wants]:
        """What each wants, by its name in plans."""
        return {client.name: client.wants for client in self}
