"""What an edge's answers were and what became of what it asked the data centre, counted since it began."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgesight.host.answer import Answer
from edgesight.host.link.offload import Offloaded
from edgesight.host.measures import Labels, Measure, Spread, gauge, plain


class Answered:
    """The counts. All is done in the edge's loop."""

    def __init__(self) -> None:
        """All at zero."""
        self._answers: Counter[Labels] = Counter()
        self._degraded: Counter[Labels] = Counter()
        self._not_guaranteed = 0
        self._strange = 0
        self._hedged = 0
        self._failed = 0
        self._legs: dict[Labels, Spread] = {}
        self._joules: dict[Labels, float] = {}
        self._looks = Spread((1, 2, 4, 8, 16, 32))
        self._swaps = 0

    def answer(self, answer: Answer, level: float | None) -> None:
        """One was given; below the `level` a picture's p-value says that it is strange. None: nothing is."""
        target = f"{answer.accuracy_target:g}"
        self._answers[target, answer.stage] += 1
        self._degraded[target,] += answer.degraded
        self._not_guaranteed += not answer.guaranteed
        self._strange += level is not None and answer.novelty is not None and answer.novelty < level
        self._hedged += answer.hedged
        for leg in answer.legs:
            self._legs.setdefault((leg.name, leg.obtained), Spread()).add(leg.milliseconds / 1e3)
        if answer.energy_joules is not None:
            key = (answer.energy_obtained or "measured",)
            self._joules[key] = self._joules.get(key, 0.0) + answer.energy_joules

    def failed(self) -> None:
        """A picture got no answer, by a fault of the fabric or of ours."""
        self._failed += 1

    def look(self, pictures: int) -> None:
        """The fabric ran once on so many."""
        self._looks.add(pictures)

    def swapped(self) -> None:
        """Another calibration was taken over."""
        self._swaps += 1

    def measures(self) -> Sequence[Measure]:
        """All of it."""
        return (
            Measure("answers", "Pictures answered, by who answered.", "counter", ("target", "stage"), self._answers),
            Measure("answers_degraded", "Answers that stand in for better.", "counter", ("target",), self._degraded),
            plain("answers_not_guaranteed", "Answers that no target covers.", self._not_guaranteed),
            plain("answers_strange", "Answers to pictures unlike the calibration's.", self._strange),
            plain("answers_hedged", "Answers whose picture went to the data centre at once.", self._hedged),
            plain("answers_failed", "Pictures that got no answer.", self._failed),
            Measure("leg_seconds", "Time of an answer's leg.", "histogram", ("leg", "obtained"), self._legs),
            Measure("energy_joules", "Energy of answers, above idle.", "counter", ("obtained",), self._joules),
            Measure("fabric_run_pictures", "Pictures of one run of the fabric.", "histogram", (), {(): self._looks}),
            plain("swaps", "Calibrations taken over while running.", self._swaps),
        )


class Offloads:
    """What became of requests to the data centre."""

    def __init__(self) -> None:
        """None was sent."""
        self._outcomes = Counter[Labels]({(outcome,): 0 for outcome in ("answered", "unanswered", "not_sent")})
        self._cancelled = 0
        self._coarse = 0
        self._loss = 0.0

    def replied(self, reply: Offloaded) -> None:
        """One was answered."""
        self._outcomes["answered",] += 1
        self._coarse += reply.coarse
        self._loss = reply.loss

    def unanswered(self, asked: bool) -> None:
        """One was not; it may not even have been sent."""
        self._outcomes["unanswered" if asked else "not_sent",] += 1

    def cancelled(self) -> None:
        """Nobody waits for one any more: it is taken back."""
        self._cancelled += 1

    def measures(self) -> Sequence[Measure]:
        """All of it."""
        return (
            Measure("offloads", "Requests to the data centre.", "counter", ("outcome",), self._outcomes),
            plain("offloads_coarse", "Answered requests that went coarser than was calibrated.", self._coarse),
            plain("offloads_cancelled", "Requests taken back before they came to an end.", self._cancelled),
            gauge("link_loss_ratio", "Packets lost of late, at the last reply.", self._loss),
        )
