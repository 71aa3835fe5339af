"""Several applications of one edge, as the command line names them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgesight.host.applications.run import Setup

_SETTINGS = ("fabric", "accuracy", "datacenter", "keys")
FORM = "NAME=PACKAGE"
HELP = (
    "Another application, asked by its name over HTTP and gRPC. After PACKAGE, separated by commas, what is its own: "
    "fabric=, accuracy=, datacenter=, keys=. Repeatable."
)


def setups_of(package: Path | None, applications: Sequence[str], default: Setup) -> list[Setup]:
    """The application of `package`, where one is given, and the others; what they do not say is as of `default`.

    Raises EdgeError or AddressError.
    """
    import dataclasses

    first = [dataclasses.replace(default, package=package)] if package is not None else []
    return [*first, *(_setup(text, default) for text in applications)]


def _setup(text: str, default: Setup) -> Setup:
    """What one `--application` says."""
    import dataclasses

    from edgesight.host.edge import EdgeError
    from edgesight.host.link.addresses import host_and_port

    given, *settings = text.split(",")
    name, _, package = given.partition("=")
    own: dict[str, str] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in _SETTINGS or not value or key in own:
            raise EdgeError(f"--application {text}: {setting!r} is no setting; give once each {', '.join(_SETTINGS)}")
        own[key] = value
    if not name or not package:
        raise EdgeError(f"--application {text}: expected {FORM}, such as digits=bitstreams/digits,fabric=csim")
    return dataclasses.replace(
        default,
        package=Path(package),
        name=name,
        fabric=own.get("fabric", default.fabric),
        accuracy=_accuracy(own["accuracy"]) if "accuracy" in own else default.accuracy,
        datacenter=host_and_port(own["datacenter"], "datacenter=") if "datacenter" in own else default.datacenter,
        keys_folder=Path(own["keys"]) if "keys" in own else default.keys_folder,
    )


def _accuracy(text: str) -> float:
    from edgesight.host.edge import EdgeError

    try:
        accuracy = float(text)
    except ValueError:
        accuracy = -1.0
    if not 0.0 <= accuracy <= 1.0:
        raise EdgeError(f"accuracy={text}: expected a share of right answers, 0 to 1")
    return accuracy
