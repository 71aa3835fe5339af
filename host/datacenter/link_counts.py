"""What became of edges' requests and of their strips, counted since the data centre's service began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edgesight.host.link.datagrams import Status
from edgesight.host.link.strips import Assembly
from edgesight.host.measures import Labels, Measure, Spread

_OUTCOMES = (*(status.name.lower() for status in Status), "cancelled")


class LinkCounts:
    """The counts. All is done in the service's loop."""

    def __init__(self) -> None:
        """All at zero."""
        self._requests = Counter[Labels]({(outcome,): 0 for outcome in _OUTCOMES})
        self._strips = Counter[Labels]({(what,): 0 for what in ("came", "repeated", "repaired", "concealed")})
        self._batches = Spread((1, 2, 4, 8))
        self._decode, self._model = Spread(), Spread()

    def ended(self, status: Status) -> None:
        """A request has its reply, or gets none as too many were refused."""
        self._requests[status.name.lower(),] += 1

    def cancelled(self) -> None:
        """An edge took a request back before it had its reply."""
        self._requests["cancelled",] += 1

    def strip(self, again: bool) -> None:
        """One came; `again`: it was there already, or its request was through."""
        self._strips["repeated" if again else "came",] += 1

    def decoded(self, assembly: Assembly, seconds: float, failed: bool) -> None:
        """A picture was decoded, or it was tried, which took so long."""
        self._decode.add(seconds)
        if not failed:
            self._strips["repaired",] += assembly.repaired
            self._strips["concealed",] += assembly.missing

    def ran(self, pictures: int, seconds: float) -> None:
        """The model ran once on so many."""
        self._batches.add(pictures)
        self._model.add(seconds)

    def measures(self, waiting: Mapping[str, int]) -> Sequence[Measure]:
        """All of it, and how many requests are `waiting` where."""
        return (
            Measure("link_requests", "Edges' requests, by what came of them.", "counter", ("outcome",), self._requests),
            Measure("link_strips", "Strips of pictures, by what became of them.", "counter", ("what",), self._strips),
            Measure(
                "link_waiting",
                "Requests of edges under way, by what they wait for.",
                "gauge",
                ("where",),
                {(where,): count for where, count in waiting.items()},
            ),
            Measure("link_batch_pictures", "Pictures of one run of the model.", "histogram", (), {(): self._batches}),
            Measure(
                "link_decode_seconds", "Processor time of decoding a picture.", "histogram", (), {(): self._decode}
            ),
            Measure("link_model_seconds", "Time of one run of the model.", "histogram", (), {(): self._model}),
        )
