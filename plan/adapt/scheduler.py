"""The online side of adaptation: what a client knows of its link and sends, and a plan every half second.

Each frame that arrived tells its client how fast the link is (`Sender`). A frame's header carries that estimate to the
scheduler, and every answer carries the model that the client should use next. In between, the client may send smaller
frames than it was told to, at once: nobody else knows as early that its link became slow. The server answers those by
the model that the GPU runs; they count with the accuracy of their own size.

Of two plans the scheduler keeps the older as long as it holds and the newer is not better for some rounds: models that
flap cost more than they bring. A GPU goes on with its old model until the new one is loaded.

Words owned here: *pace* (ms a byte: the inverse of bandwidth, so that slow transfers weigh most), *round* (one run of
the scheduler), *margin* (share of the estimated bandwidth that is not counted on), *patience* (rounds that a better
plan has to stay better), *load limit* (share of a GPU's throughput that is planned for: cameras that happen to take
their frames at the same moments need the rest).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgesight.plan.adapt.data import AdaptPlan, Client, Gpu, Model, ModelProfile, Situation
from edgesight.plan.adapt.plan import Method, plan
from edgesight.plan.adapt.tables import faults

INTERVAL_MS = 500.0  # from one round to the next
# Chosen so that on links that move 99 % of requests are in time wherever that can be; see the bench of adaptation.
MARGIN, SENDER_MARGIN = 0.15, 0.1
PATIENCE = 2
# What is in time comes first: 0.75 has up to 1.5 points more of the requests in time than 0.9, and costs up to 1.8
# points of accuracy. The other methods fill GPUs less exactly, and so leave room by themselves.
LOAD_LIMIT, OTHERS_LOAD_LIMIT = 0.75, 0.9
GAMMA, HISTORY = 0.6, 10  # of the filter: weight of older errors, and samples whose largest error is remembered


class BandwidthFilter:
    """The error-based filter of Kim and Noble (Mobile Network Estimation, MobiCom 2001), as Jellyfish uses it.

    An estimate that erred much lately follows the newest sample; one that was right stays.
    """

    def __init__(self, gamma: float = GAMMA, history: int = HISTORY) -> None:
        """See `GAMMA` and `HISTORY`."""
        self.value: float | None = None
        self._gamma = gamma
        self._error: float | None = None
        self._errors: deque[float] = deque(maxlen=history)

    def add(self, sample: float) -> float:
        """Take a sample in; returns the estimate after it."""
        if self.value is None:
            self.value = sample
            return sample
        error = abs(self.value - sample)
        self._error = error if self._error is None else self._gamma * self._error + (1 - self._gamma) * error
        self._errors.append(self._error)
        largest = max(self._errors)
        follow = self._error / largest if largest > 0 else 0.0
        self.value += follow * (sample - self.value)
        return self.value


class Sender:
    """A client's side: estimates its link's pace from acknowledged frames, and sizes each frame.

    `margin` is the share of the estimated bandwidth that it does not count on when it sizes a frame.
    """

    def __init__(
        self, client: Client, profile: ModelProfile, *, margin: float = SENDER_MARGIN, overhead_ms: float = 0.0
    ) -> None:
        """`client.link` is the first estimate; no model is assigned yet."""
        self._client, self._profile, self._margin = client, profile, margin
        self._filter = BandwidthFilter()
        self._last: float = client.link.transfer_ms(1)
        self._filter.add(self._last)
        self._left_ms = client.latency_ms - client.link.round_trip_ms - overhead_ms
        self._ranked = sorted(profile.models, key=lambda model: (-model.accuracy, model.input_px))
        self._place: int | None = None
        self.server_ms = 0.0  # what the server takes at most for a frame of the assigned model

    @property
    def mbps(self) -> float:
        """Estimated bandwidth, in Mbit/s: by the filter, or by the last frame if that was slower."""
        assert self._filter.value is not None
        return 8e-3 / max(self._filter.value, self._last)

    def assign(self, model: Model | None, server_ms: float) -> None:
        """Use `model` from now on, for which the server takes `server_ms` at most; None: send nothing but probes."""
        self._place = None if model is None else self._ranked.index(model)
        self.server_ms = server_ms

    @property
    def offered(self) -> Sequence[Model]:
        """Models that a frame may be sized for: the one assigned, and the less accurate ones, best first."""
        return () if self._place is None else self._ranked[self._place :]

    @property
    def smallest(self) -> Model:
        """The least accurate model."""
        return self._ranked[-1]

    def acknowledged(self, size: int, transfer_ms: float) -> None:
        """A frame of `size` bytes arrived, `transfer_ms` after its first byte left."""
        self._last = max(transfer_ms, 1e-6) / size
        self._filter.add(self._last)

    def choose(self, waiting: float, sent: float, sending_ms: float) -> Model | None:
        """The model to size the next frame for; None: don't send it, since its answer could only be late.

        `waiting`: bytes before it that have not left yet. `sent`, `sending_ms`: what left of the frame under way, and
        for how long it has been leaving.
        """
        pace = 8e-3 / self.mbps
        if sending_ms > 2.0:
            pace = max(pace, sending_ms / max(sent, 1.0))
        safe = pace / (1 - self._margin)
        for model in self.offered:
            size = self._profile.frame_bytes[model.input_px]
            if (waiting + size) * safe + self.server_ms <= self._left_ms:
                return model
        # An idle link always gets a frame: without one nobody would learn that the link is fast again.
        size = self._profile.frame_bytes[self.smallest.input_px]
        alone = self.smallest.latency_ms[min(self.smallest.latency_ms)]
        if not waiting or (waiting + size) * pace + alone <= self._left_ms:
            return self.smallest
        return None


@dataclass
class _Held:
    """What one GPU holds, and from when on, in ms."""

    networks: dict[str, float] = field(default_factory=dict)
    running: str | None = None

    def now(self, now_ms: float) -> tuple[str, ...]:
        ready = [name for name, since in self.networks.items() if since <= now_ms]
        return tuple(sorted(ready, key=lambda name: name != self.running))

    def hold(self, resident: Sequence[str], profile: ModelProfile, now_ms: float) -> float:
        """Load what is missing, one after another, what is run first; returns when that can be run.

        Until then the GPU goes on running what it ran. Where `resident` leaves that out it no longer counts as held
        here, but is in memory still: for this time there is one network more than `Gpu.holds`.
        """
        free = max([now_ms, *(since for since in self.networks.values())])
        kept = {name: since for name, since in self.networks.items() if name in resident}
        for name in resident:
            if name not in kept:
                free += profile.load_ms(name)
                kept[name] = free
        self.networks, self.running = kept, resident[0] if resident else self.running
        return max(now_ms, kept[resident[0]]) if resident else now_ms


class Scheduler:
    """Plans anew every round from what clients report, and keeps what need not change."""

    def __init__(
        self,
        profile: ModelProfile,
        gpus: Sequence[Gpu],
        *,
        method: Method = "pairwise",
        margin: float = MARGIN,
        patience: int = PATIENCE,
        load_limit: float | None = None,
        overhead_ms: float = 0.0,
    ) -> None:
        """`gpus` with what they hold at the start; the other words are the module's.

        `margin` and `load_limit` are the trade between what is in time and accuracy: more of the one or less of the
        other has more requests answered in time, by less accurate models. `load_limit` None: the method's own.
        """
        self.plan: AdaptPlan | None = None
        self.ready_ms: dict[str, float] = {}  # by GPU: when it can run the plan's model
        self._profile, self._gpus, self._method = profile, tuple(gpus), method
        self._margin, self._patience, self._overhead_ms = margin, patience, overhead_ms
        own = LOAD_LIMIT if method == "pairwise" else OTHERS_LOAD_LIMIT
        self._load_limit = own if load_limit is None else load_limit
        self._clients: dict[str, Client] = {}
        self._mbps: dict[str, float] = {}
        self._held = {gpu.name: _Held(dict.fromkeys(gpu.held, 0.0), next(iter(gpu.held), None)) for gpu in gpus}
        self._better = 0  # rounds that the newer plan has been better
        self.took_s = 0.0  # the last round, measured

    def register(self, client: Client) -> None:
        """Plan for `client` from the next round on; `client.link` is its first estimate."""
        self._clients[client.name] = client
        self._mbps[client.name] = client.link.mbps

    def leave(self, name: str) -> None:
        """Plan for the client no more."""
        del self._clients[name], self._mbps[name]

    def report(self, name: str, mbps: float) -> None:
        """A client's newest estimate of its bandwidth, in Mbit/s."""
        self._mbps[name] = mbps

    def round(self, now_ms: float) -> AdaptPlan:
        """Plan for what is known at `now_ms`, a monotonic time; returns the plan that holds from now on."""
        start = time.perf_counter()
        situation = self._situation(now_ms)
        new = plan(situation, self._method, seconds=None)
        old = self.plan
        # The old plan must hold with half as much more counted on only: meanwhile nothing changes.
        holds = self._margin - abs(self._margin) / 2
        if old is None or not _serves(old, new) or faults(self._situation(now_ms, holds), old):
            self._adopt(new, now_ms)
        elif new.mean_accuracy > old.mean_accuracy:
            self._better += 1
            if self._better >= self._patience:
                self._adopt(new, now_ms)
        else:
            self._better = 0
        self.took_s = time.perf_counter() - start
        assert self.plan is not None
        return self.plan

    def _situation(self, now_ms: float, margin: float | None = None) -> Situation:
        share = 1 - (self._margin if margin is None else margin)
        return Situation(
            profile=self._profile,
            clients=tuple(
                client.model_copy(
                    update={"link": client.link.model_copy(update={"mbps": max(1e-6, self._mbps[name] * share)})}
                )
                for name, client in self._clients.items()
            ),
            gpus=tuple(gpu.model_copy(update={"held": self._held[gpu.name].now(now_ms)}) for gpu in self._gpus),
            overhead_ms=self._overhead_ms,
            load_limit=self._load_limit,
        )

    def _adopt(self, new: AdaptPlan, now_ms: float) -> None:
        for gpu in new.gpus:
            self.ready_ms[gpu.gpu] = self._held[gpu.gpu].hold(gpu.resident, self._profile, now_ms)
        self.plan, self._better = new, 0


def _serves(old: AdaptPlan, new: AdaptPlan) -> bool:
    """Whether the old plan is for the same clients and serves all that the new one does."""
    served = {entry.client for entry in old.clients}
    known = served | {entry.client for entry in old.unserved}
    wanted = {entry.client for entry in new.clients}
    return wanted <= served and known == wanted | {entry.client for entry in new.unserved}
