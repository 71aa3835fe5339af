"""Measurements that are kept in the user's cache, so that asking for the same again takes no second one."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.cache import cache_folder, prune
from edgesight.host.files import sha256, write_atomically

_MOST_KEPT = 32  # measurements, of some 100 kB each
_ROOT = Path(__file__).resolve().parent.parent
# What every measurement's outcome hangs on beside its inputs.
_CODE = (
    *("sim/observe.py", "sim/ladder.py", "sim/photographs.py"),
    *("host/datacenter/models.py", "host/datacenter/executors/onnx_runtime.py"),
    *("host/fabric/csim.py", "host/pictures.py"),
)

Arrays = Mapping[str, npt.NDArray[Any]]


def key_of(facts: object, arrays: Iterable[npt.NDArray[Any]]) -> str:
    """A checksum over what a measurement hangs on: `facts`, which are written as JSON, arrays, and its code."""
    files = [*(_ROOT / name for name in _CODE), *sorted((_ROOT / "host" / "link").glob("*.py"))]
    code = [sha256(path.read_bytes()) for path in files]
    digest = hashlib.sha256(json.dumps([facts, code], sort_keys=True).encode())
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def kept(key: str, names: Iterable[str], measure: Callable[[], Arrays]) -> Arrays:
    """The arrays `names` that were kept under `key`; what `measure` gives, from now on kept, where there are none."""
    folder = cache_folder() / "observed"
    path = folder / f"{key}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in names}
        path.touch()
        return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # absent or damaged
    measured = measure()
    packed = io.BytesIO()
    np.savez_compressed(packed, **measured)  # type: ignore[arg-type] # its stub takes a keyword for an array
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomically(path, packed.getvalue())
    prune(folder, _MOST_KEPT, path)
    return measured
