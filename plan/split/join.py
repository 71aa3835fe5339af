"""The profile of a network from its measurements on a device and at a data centre."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgesight.host.obtained import Obtained
from edgesight.plan.profile import PlanError, checked
from edgesight.plan.split.measured import MeasuredLayer, MeasuredNetwork
from edgesight.plan.split.plan import SplitProfile

DATACENTER = "datacenter"  # what it is called where it was not measured


def join(
    device: MeasuredNetwork,
    datacenter: MeasuredNetwork,
    accuracies: Mapping[str, float],
    accuracy_obtained: Obtained,
    *,
    device_factor: float = 1.0,
    datacenter_factor: float = 1.0,
    answer_bytes: int | None = None,
) -> SplitProfile:
    """The profile of a network that was measured on a device and at a data centre, with the accuracies of its exits.

    Of one network (equal checksums) every layer can run on either side. Of two, the device runs its own and the data
    centre its own, and the input is what is handed over. A factor other than 1 stands for a slower or faster machine
    than the measured one, and makes its times projected. An answer is sent in `answer_bytes`, or as the network's
    output lies in memory. Raises PlanError for exits without accuracy and the reverse, and for numbers that cannot be.
    """
    same = device.sha256 == datacenter.sha256
    if device.device.name == datacenter.device.name:
        raise PlanError(f"both measurements are of {device.device.name!r}: give each machine a name of its own")
    if same and _shape(device) != _shape(datacenter):
        raise PlanError(
            f"{device.name}: the two measurements count other bytes, layers or exits: make both with the same options"
        )
    for name, factor in (("device_factor", device_factor), ("datacenter_factor", datacenter_factor)):
        if not 0 < factor < math.inf:
            raise PlanError(f"field {name}: is {factor}; give a number above 0")
    if answer_bytes is not None and answer_bytes < 0:
        raise PlanError(f"field answer_bytes: is {answer_bytes}; give 0 or more")
    names = [exit_.name for exit_ in device.exits] + ([] if same else [exit_.name for exit_ in datacenter.exits])
    for name in names:
        if names.count(name) > 1:
            raise PlanError(f"both networks have an exit {name!r}: rename an output of one")
        if name not in accuracies:
            raise PlanError(f"field accuracies: exit {name!r} has none; give one for each of {', '.join(names)}")
    for name, share in accuracies.items():
        if name not in names:
            raise PlanError(f"field accuracies: there is no exit {name!r}; name one of {', '.join(names)}")
        if not 0 <= share <= 1:
            raise PlanError(f"field accuracies: exit {name!r} has {share:g}; give a share from 0 to 1")
    here, there = device.device.name, datacenter.device.name

    def layers(near: Sequence[MeasuredLayer], far: Sequence[MeasuredLayer]) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for number in range(max(len(near), len(far))):
            ms = {}
            if near:
                ms[here] = near[number].ms * device_factor
            if far:
                ms[there] = far[number].ms * datacenter_factor
            known = (near or far)[number]
            found.append({"name": known.name, "ms": ms, "output_bytes": known.output_bytes})
        return found

    exits: list[dict[str, object]] = [
        {
            "name": exit_.name,
            "accuracy": accuracies[exit_.name],
            "after": exit_.after,
            "layers": layers(exit_.layers, datacenter.exits[number].layers if same else []),
            "branch_bytes": exit_.branch_bytes,
            "answer_bytes": exit_.answer_bytes if answer_bytes is None else answer_bytes,
        }
        for number, exit_ in enumerate(device.exits)
    ]
    for exit_ in [] if same else datacenter.exits:
        chain = [*datacenter.layers[: exit_.after], *exit_.layers]
        exits.append(
            {
                "name": exit_.name,
                "accuracy": accuracies[exit_.name],
                "after": 0,
                "layers": layers([], chain),
                "answer_bytes": exit_.answer_bytes if answer_bytes is None else answer_bytes,
            }
        )
    scales = [
        f"times of {side.device.name} multiplied by {factor:g}"
        for side, factor in ((device, device_factor), (datacenter, datacenter_factor))
        if factor != 1.0
    ]
    name = device.name if same else f"{device.name} and {datacenter.name}"
    origins = [f"{here}: {device.origin}", f"{there}: {datacenter.origin}", *scales, f"accuracies {accuracy_obtained}"]
    content = {
        "name": name,
        "origin": "; ".join(origins),
        "device": device.device,
        "datacenter": datacenter.device.model_copy(update={"tier": max(1, datacenter.device.tier)}),
        "obtained": {
            here: device.obtained if device_factor == 1.0 else "projected",
            there: datacenter.obtained if datacenter_factor == 1.0 else "projected",
        },
        "accuracy_obtained": accuracy_obtained,
        "input_bytes": device.input_bytes,
        "layers": layers(device.layers, datacenter.layers if same else []),
        "exits": exits,
    }
    return checked(content, SplitProfile, f"profile {name}")


def join_alone(
    device: MeasuredNetwork, accuracies: Mapping[str, float], accuracy_obtained: Obtained, datacenter_factor: float
) -> SplitProfile:
    """The profile of a network that was measured on a device alone.

    The data centre's times are the device's times `datacenter_factor`, and so projected. Raises PlanError as `join`.
    """
    if device.device.name == DATACENTER:
        raise PlanError(f"the measured machine is called {DATACENTER!r}, as the projected one is: give it another name")
    far = device.model_copy(
        update={
            "device": device.device.model_copy(update={"name": DATACENTER}),
            "obtained": "projected",
            "origin": f"not measured, but times of {device.device.name}",
        }
    )
    return join(device, far, accuracies, accuracy_obtained, datacenter_factor=datacenter_factor)


def _shape(network: MeasuredNetwork) -> object:
    """All of a measured network that does not depend on the machine."""
    layers = {"__all__": {"name": True, "output_bytes": True}}
    exits: dict[str, Any] = {"name": True, "after": True, "layers": layers, "branch_bytes": True, "answer_bytes": True}
    return network.model_dump(include={"input_bytes": True, "layers": layers, "exits": {"__all__": exits}})
