"""What is measured from made-up sensor files, held against what they were made from."""

from __future__ import annotations

import pytest

from edgesight.bench.power_replay import FORMS, Form, World, replayed_energy


@pytest.mark.parametrize("form", FORMS)
def test_energy_from_replayed_files_is_within_two_percent(form: Form) -> None:
    for seed in range(3):
        replayed = replayed_energy(form, seed)
        assert replayed.whole.error < 0.02, replayed
        assert replayed.fabric.error < 0.05, replayed
        assert replayed.pairs == 8


@pytest.mark.parametrize(("form", "seeds"), [("csv", 100), ("hwmon", 40)])
def test_the_interval_covers_the_truth_as_often_as_it_says(form: Form, seeds: int) -> None:
    replayed = [replayed_energy(form, seed) for seed in range(100, 100 + seeds)]
    for part in ("whole", "fabric"):
        missed = [one for one in replayed if not getattr(one, part).covered]
        assert len(missed) <= 0.1 * seeds, (part, missed)


@pytest.mark.parametrize("form", FORMS)
def test_more_noise_widens_the_interval(form: Form) -> None:
    calm, loud = (replayed_energy(form, 7, World(noise=noise)) for noise in (0.005, 0.1))
    for one, other in ((calm.whole, loud.whole), (calm.fabric, loud.fabric)):
        assert other.high - other.low > 3 * (one.high - one.low)


def test_a_seed_replays_the_same() -> None:
    assert replayed_energy("csv", 5) == replayed_energy("csv", 5)
    assert replayed_energy("csv", 5).whole.joules != replayed_energy("csv", 6).whole.joules
