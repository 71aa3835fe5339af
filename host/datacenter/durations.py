"""How long decoding and the model usually take: what is begun, and in how large batches, hangs on it.

Words owned here: usual.
"""

from __future__ import annotations

_BATCH_S, _BATCH_MORE = 0.05, 1.5  # a batch takes at most so many seconds, or that many times what one image takes
_FORGET = 0.99  # what a batch of another size took counts for less with every batch: it is tried again some time
_SIZES = 1_024  # of batches, that are remembered: others go by the nearest ones
_DOUBT_AFTER = 1.0  # seconds without a batch after which what they took is believed less, by half with every second


class Durations:
    """Seconds that decoding and a batch took, smoothed. `now` is always the loop's time, seconds."""

    def __init__(self, now: float) -> None:
        """Nothing is measured yet."""
        self.decode_s = 0.02  # of one request's images; a guess to begin with
        self.model_s = 0.0  # of a batch
        self._batch_s: dict[int, float] = {}  # the same by size of the batch
        self._measured = now  # when the model last ended a batch
        self._doubted = False  # what it takes, since then

    def decoded(self, took: float) -> None:
        """Decoding took so many seconds."""
        self.decode_s = _smoothed(self.decode_s, took)

    def answered(self, size: int, took: float, now: float) -> None:
        """The model took so many seconds for a batch of `size` images."""
        self._measured = now
        self.model_s = _smoothed(0.0 if self._doubted else self.model_s, took)
        self._doubted = False
        if size in self._batch_s or len(self._batch_s) < _SIZES:
            self._batch_s[size] = _smoothed(self._batch_s.get(size, 0.0), took)

    def expected(self, size: int) -> float:
        """Seconds that a batch of `size` takes; where none was measured, of the nearest ones. 0.0: nothing is known."""
        known = self._batch_s.get(size)
        if known is not None:
            return known
        larger = min((other for other in self._batch_s if other > size), default=None)
        smaller = max((other for other in self._batch_s if other < size), default=None)
        guesses = [self._batch_s[larger]] if larger is not None else []
        if smaller is not None:
            guesses.append(self._batch_s[smaller] * size / smaller)
        return min(guesses, default=0.0)

    def each(self) -> float:
        """Seconds an image in the best batch that was measured; 0.0: nothing is known."""
        return min((took / size for size, took in self._batch_s.items()), default=0.0)

    def batch(self, largest: int, within: float | None = None) -> int:
        """Images that the next batch may have: as many as end soon, so that who comes next need not wait long.

        Soon is within so many seconds, if that is told. A model that takes no longer for many than for one has them
        all, `largest`.
        """
        most = max(_BATCH_S if within is None else within, _BATCH_MORE * self._batch_s.get(1, 0.0))
        slow = (size for size, took in self._batch_s.items() if 2 <= size <= largest and took > most)
        size = min(slow, default=None)
        if size is None:
            return largest
        self._batch_s[size] *= _FORGET
        return size - 1

    def doubt(self, latest: float, now: float) -> None:
        """Believe less in what decoding and the model take, where nothing has shown it for a while.

        A request is about to be refused that has until `latest`: one batch that stood still would else have all later
        ones refused, and nothing be measured again.
        """
        doubtful = now - self._measured - _DOUBT_AFTER
        if doubtful > 0.0 and now < latest:
            self.decode_s *= 0.5**doubtful
            self.model_s *= 0.5**doubtful
            self._batch_s = {size: took * 0.5**doubtful for size, took in self._batch_s.items()}
            self._measured, self._doubted = now - _DOUBT_AFTER, True


def _smoothed(usual: float, took: float) -> float:
    return took if usual == 0.0 else usual + (took - usual) / 8
