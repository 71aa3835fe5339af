"""From a picture's or an array's file to the pixels that a kernel takes.

Pictures: by the rule of `edgesight.host.pictures`. Arrays (`.npy`): taken as they are; they must already have the
shape that the kernel's fabric or its back end takes.
"""

from __future__ import annotations

import ctypes
import io
import os
import select
import stat
import sys
import time
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.kernel import BackEndInput, Input
from edgesight.host.picture_files import MAX_FILE_BYTES, SUFFIXES, Unreadable
from edgesight.host.pictures import Picture, Pixels, read, refit

__all__ = [
    "MAX_FILE_BYTES",
    "ImageError",
    "Picture",
    "Pixels",
    "array_file",
    "give_back_memory",
    "image_content",
    "listed",
    "photograph_shape",
    "picture_of",
    "random_images",
    "read_image",
]

_NPY = b"\x93NUMPY"
_PIPE_S = 10.0  # seconds in which all of a pipe's picture has to come
_STANDARD_INPUT = Path("-")
_M_MMAP_THRESHOLD = -3  # glibc's <malloc.h>
_LARGE_BYTES = 2**18


class ImageError(EdgeSightError, ValueError):
    """A picture that cannot be used: names it, what was found and what would be right."""


def read_image(content: bytes, expected: Input, name: str, backend: BackEndInput | None = None) -> Picture:
    """Pixels uint8 [H, W, C] of the file `content`, as `expected` by the kernel; `name` is for errors.

    Where the `backend` takes another form, it has a photograph in that form, too. Reading takes at most 256 MiB of
    memory. Raises ImageError.
    """
    if len(content) > MAX_FILE_BYTES:
        raise ImageError(f"{name} has {len(content)} bytes, at most {MAX_FILE_BYTES} are read: make it smaller")
    if content.startswith(_NPY):
        return picture_of(_array(content, name), expected, name, backend)
    try:
        return read(content, *expected.shape, photograph_shape(expected, backend))
    except Unreadable as error:
        raise ImageError(f"{name} {error}") from error


def photograph_shape(expected: Input, backend: BackEndInput | None) -> tuple[int, int, int] | None:
    """Shape [H, W, C] of what the `backend` takes of a picture; None where that is what the kernel's fabric takes."""
    return backend.shape if backend is not None and backend.shape != expected.shape else None


def picture_of(array: npt.NDArray[Any], expected: Input, name: str, backend: BackEndInput | None = None) -> Picture:
    """The picture that `array` is: uint8 [H, W, C] of the fabric's shape or, where it is another, the back end's.

    The other form is made of it. Raises ImageError.
    """
    larger = photograph_shape(expected, backend)
    if array.dtype != np.uint8 or array.shape not in (expected.shape, larger):
        remedy = (
            "reshape it, or give a picture, which is resized"
            if array.dtype == np.uint8
            else "bring its values to 0 to 255 and convert it by astype(numpy.uint8)"
        )
        taken = f"uint8 {list(expected.shape)}" + (f" or {list(larger)}" if larger is not None else "")
        raise ImageError(
            f"{name} holds {array.dtype} {list(array.shape)}, but the kernel takes {taken} "
            f"(height, width, channels): {remedy}"
        )
    pixels = np.asarray(array, np.uint8)
    if larger is None:
        return Picture(pixels, ())
    if array.shape == larger:
        return Picture(refit(pixels, expected.shape), (), pixels)
    return Picture(pixels, ("has the fabric's size: for the data centre it is enlarged",), refit(pixels, larger))


def array_file(path: Path) -> Pixels:
    """The one array in a .npy file, which should be images uint8 [N, H, W, C]; raises ImageError."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ImageError(f"{path}: holds no array ({error}): give a .npy file, uint8 [N, H, W, C]") from error
    if not isinstance(loaded, np.ndarray):
        raise ImageError(f"{path}: holds several arrays: give a .npy file with one, uint8 [N, H, W, C]")
    return loaded


def random_images(expected: Input, count: int, seed: int) -> Pixels:
    """`count` images uint8 [N, H, W, C] of the kernel's shape that show nothing."""
    return np.random.default_rng(seed).integers(0, 256, (count, *expected.shape), np.uint8)


def give_back_memory() -> None:
    """From here on, large blocks go back to the system as soon as they are freed.

    glibc keeps some 64 MiB for each thread that ever decoded a picture; a board has 512 MB in all. Other C libraries
    are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def listed(path: Path) -> list[Path]:
    """The pictures and arrays in and below a folder, by name, hidden ones left out; `path` itself where it is none.

    Raises ImageError where a folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in SUFFIXES | {".npy"}
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not found:
        raise ImageError(f"{path} holds no file that is named as a picture or array: give a folder that does")
    return found


def image_content(path: Path) -> bytes:
    """The bytes of a picture's file, of a pipe, or of standard input (`-`), at most 32 MiB; raises ImageError."""
    if path == _STANDARD_INPUT:
        content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        return _bounded(content, "standard input", len(content))
    try:
        # Not to block: a pipe that nobody writes to would hold us here for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}): give a picture's path") from error
    try:
        found = os.fstat(descriptor)
        if stat.S_ISFIFO(found.st_mode):
            return _bounded(_from_pipe(descriptor, path), str(path), 0)
        if not stat.S_ISREG(found.st_mode):
            kind = "folder" if stat.S_ISDIR(found.st_mode) else "device"
            raise ImageError(f"{path} is a {kind}, not a picture: give a picture's path")
        _bounded(b"", str(path), found.st_size)
        with open(descriptor, "rb", closefd=False) as file:
            return _bounded(file.read(MAX_FILE_BYTES + 1), str(path), 0)
    except OSError as error:
        raise ImageError(f"{path} cannot be read ({error.strerror}): give another") from error
    finally:
        os.close(descriptor)


def _bounded(content: bytes, name: str, size: int) -> bytes:
    size = max(size, len(content))
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name} is larger than {MAX_FILE_BYTES} bytes, more than is read: make it smaller")
    return content


def _from_pipe(descriptor: int, path: Path) -> bytes:
    """All that is written to a pipe until its writers close it, up to one byte more than is allowed."""
    until = time.monotonic() + _PIPE_S
    pieces: list[bytes] = []
    size = 0
    while size <= MAX_FILE_BYTES:
        left = until - time.monotonic()
        if left <= 0:
            raise ImageError(f"{path} is a pipe and gave no whole picture within {_PIPE_S:g} s: write to it sooner")
        if not select.select([descriptor], [], [], left)[0]:
            continue
        try:
            piece = os.read(descriptor, 2**16)
        except BlockingIOError:
            continue
        if not piece:
            if pieces:
                break
            time.sleep(0.02)  # nobody has opened it for writing yet
            continue
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _array(content: bytes, name: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError, tokenize.TokenError) as error:
        raise ImageError(f"{name} is damaged ({error}): it cannot be read as an array; write it again") from error
    return array
