"""A zoo folder as others meet it: what may be written over, and what its model card says of the files in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgesight.host.files import Claim, read_regular, sha256

# What `train` writes into a zoo folder, beside its card.
_FILES = ("README.md", "stage0.npz", "stage0.onnx", "stage1.npz", "stage1.onnx", "backend.onnx")
CARD = "card.json"


def _stranger(folder: Path) -> str | None:
    """Why training must not write here: nothing is removed, but files of its names are replaced."""
    try:
        card = json.loads(read_regular(folder / CARD))
        return None if {"schema", "networks"} <= card.keys() else f"its {CARD} is no model card"
    except FileNotFoundError:
        there = [name for name in _FILES if (folder / name).exists()]
        return f"it holds {there[0]} and no {CARD}" if there else f"it has no {CARD}"
    except (OSError, ValueError, AttributeError, RecursionError):
        return f"its {CARD} cannot be read"


ZOO = Claim("zoo folder", _stranger)


class ZooError(ValueError):
    """A zoo folder that cannot be compiled: says which file and what to do."""


def read_card(zoo: Path) -> dict[str, Any]:
    """The model card of a zoo folder; ZooError where it is absent or lacks what compiling needs."""
    path = zoo / CARD
    try:
        card = json.loads(read_regular(path))
        facts = card["data_set"]
        str(facts["name"]), str(facts["checksum"]), [str(name) for name in facts["classes"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ZooError(f"{path}: no readable model card ({error!r}); make one with `edgesight train`") from error
    assert isinstance(card, dict)
    return card


def check_files(zoo: Path, card: dict[str, Any]) -> None:
    """ZooError where a network is absent, or is not the file that the card was written for."""
    networks = card.get("networks") or {}
    for name in ("stage0", "stage1", "backend"):
        path, file = zoo / f"{name}.onnx", f"{name}.onnx"
        described = networks.get(name, {}).get("files", {}).get(file, {}).get("sha256")
        if not path.is_file():
            if name == "backend" and described is None:
                continue
            what = "the data centre's network" if name == "backend" else "a cascade has both stages"
            raise ZooError(f"{path}: is missing ({what}): train it with `edgesight train DATASET --variant {name}`")
        found = sha256(path.read_bytes())
        if described not in (None, found):
            twin = [
                other for other, entry in networks.items() if found in [f["sha256"] for f in entry["files"].values()]
            ]
            seen = f"it is {twin[0]}'s" if twin else f"it has sha256 {found[:12]}..."
            raise ZooError(
                f"{path}: is not the file that {CARD} describes ({described[:12]}...; {seen}): put that file back, or "
                f"train again; a network of your own takes its sha256 in {CARD}"
            )


def warnings(zoo: Path, card: dict[str, Any]) -> list[str]:
    """What lets a package be made, but a poor one: for before the work."""
    networks = card.get("networks") or {}
    said = []
    if not (zoo / "backend.onnx").is_file():
        said.append(
            f"{zoo}: has no backend.onnx, so that the package offloads nothing and cannot be calibrated: train it with "
            "`edgesight train DATASET --variant backend`"
        )
    shares = {}
    for name, entry in networks.items():
        try:
            shares[name] = float(entry["calibration_accuracy"]["by_seed"][0])
        except (KeyError, TypeError, ValueError, IndexError):
            continue
    for worse, better in (("stage0", "stage1"), ("stage1", "backend")):
        if {worse, better} <= shares.keys() and shares[better] <= shares[worse]:
            said.append(
                f"{better} is no better than {worse} ({shares[better]:.1%} against {shares[worse]:.1%} of the "
                f"calibration split): asking it costs time and gains nothing; train it longer, or on more pictures"
            )
    return said
