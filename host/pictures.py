"""From a picture's file to the pixels that a network takes, by one rule.

Pictures (JPEG, PNG, BMP, GIF, PPM, TIFF, WEBP): turned upright by their EXIF orientation; laid on black where they are
transparent; 16-bit grey scaled to 8 bits from the range that its format states; converted to grey or RGB; stretched to
the network's height and width with Pillow's antialiased bilinear filter. Nothing is cropped or padded. What cannot be
read truly is refused; what a user should know of a picture that was read is told in words.

Reading a file of at most 32 MiB takes at most 256 MiB of memory, whatever it claims. JPEG, GIF, WEBP, BMP and most
TIFF carry no checksums: of them a file that was cut is noticed, changed bytes within may not be.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from edgesight.host.picture_files import Outline, Unreadable
from edgesight.host.picture_formats import outline
from edgesight.host.picture_formats.png import check_whole
from edgesight.host.picture_formats.ppm import raster

_COUNTED_BYTES = 216 * 2**20  # of 256 MiB: the rest is for rows in work, and for what allocators keep
_BAND_PIXELS = 2**19  # pixels that are converted at once
_BACKGROUND = (0, 0, 0)  # what shows through transparent pixels
# Pillow's numbers, which the Pillow 9.0 of PYNQ's 32-bit image has no names for.
_BILINEAR = 2
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation -> Pillow's transposition
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B"})
# 16-bit samples below these are those of 12 and of 14 bits: what is white cannot be told.
_TWELVE_BITS, _FOURTEEN_BITS = 2**12, 2**14

Pixels = npt.NDArray[np.uint8]  # [H, W, C]


@dataclass(frozen=True)
class Picture:
    """A picture as a network takes it.

    Attributes:
        pixels: uint8 `[H, W, C]`, C is 1 (grey) or 3 (RGB).
        warnings: what its user should know; each follows the file's name.
        photograph: the same at the back end's size, uint8 `[H, W, C]`; None where the back end takes the pixels.
    """

    pixels: Pixels
    warnings: tuple[str, ...]
    photograph: Pixels | None = None

    @property
    def for_back_end(self) -> Pixels:
        """What the back end takes of it: the photograph, or the pixels where these are the same."""
        return self.pixels if self.photograph is None else self.photograph


@dataclass(frozen=True)
class Look:
    """What a file's header tells: its size in pixels, upright, and whether it is grey."""

    width: int
    height: int
    grey: bool


def read(
    content: bytes, height: int, width: int, channels: int, photograph: tuple[int, int, int] | None = None
) -> Picture:
    """The picture in the file `content` as uint8 `[height, width, channels]`; `channels` is 1 or 3.

    With `photograph`, the shape of another form, in that form too. It is decoded once. Raises Unreadable.
    """
    found = outline(content)
    scale = _scale(found, [(height, width), *([photograph[:2]] if photograph is not None else [])])
    seen = _Seen()
    try:
        check_whole(found)
        with _open(found, seen) as picture:
            if scale > 1:
                picture.draft(None, (found.width // scale, found.height // scale))
            picture.load()
            pixels = _fit(picture, height, width, channels, seen, found)
            larger = _fit(picture, *photograph, seen, found) if photograph is not None else None
    except Unreadable:
        raise
    except Exception as error:  # whatever a decoder raises: its kinds are many, and not documented
        raise _broken(found, error) from error
    most = max(height, photograph[0]) if photograph is not None else height
    widest = max(width, photograph[1]) if photograph is not None else width
    return Picture(pixels, _warnings(found, seen, most, widest), larger)


def look(content: bytes) -> Look:
    """What the header of the picture in `content` tells; raises Unreadable."""
    found = outline(content)
    try:
        with _open(found, _Seen()) as picture:
            grey = picture.mode in _GREY_MODES
    except Unreadable:
        raise
    except Exception as error:
        raise _broken(found, error) from error
    width, height = found.width, found.height
    return Look(height, width, grey) if found.orientation >= 5 else Look(width, height, grey)


def fit(picture: Image.Image, height: int, width: int, channels: int) -> Pixels:
    """Pixels uint8 `[height, width, channels]` of an upright Pillow `picture`, by the rule of this module."""
    return _fit(picture, height, width, channels, _Seen(), None)


def refit(pixels: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """`pixels` uint8 `[H, W, C]`, C is 1 or 3, in another `shape`, by the rule of this module."""
    return fit(Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels), *shape)


@dataclass
class _Seen:
    """What is seen of a picture while its rows pass."""

    least_opaque: int = 255
    most_opaque: int = 0
    most: int = 0  # of samples whose white is 65535; of those that are given by their upper byte, the most it may be

    def upper_bytes(self, levels: npt.NDArray[np.uint8]) -> None:
        """Note the upper bytes of 16-bit samples."""
        self.most = max(self.most, int(levels.max(initial=0)) * 256 + 255)


def _scale(found: Outline, forms: Sequence[tuple[int, int]]) -> int:
    """By what the decoder is to make the picture smaller, for `forms` of so many rows and columns.

    1 where memory allows; raises Unreadable where it never does.
    """
    pixels = found.width * found.height
    free = _COUNTED_BYTES - found.copied_bytes
    rows = found.width if found.orientation >= 5 else found.height
    for scale in (1, 2, 4, 8) if found.halvable else (1,):
        # Of a form: Pillow's 4 bytes a pixel of the picture made narrow and of the form, then the form's and numpy's.
        made = sum(width * max(4 * (-(-rows // scale) + height), 10 * height) for height, width in forms)
        needed = found.kept_bytes + made + pixels * found.bytes_a_pixel // scale**2
        if needed <= free:
            return scale
    raise Unreadable(
        f"is {found.width} x {found.height} pixels, at most {pixels * free // needed} are read of such a {found.kind}: "
        "make it smaller"
    )


def _open(found: Outline, seen: _Seen) -> Image.Image:
    if found.kind == "PPM":
        return _raster_picture(found.bare, seen)
    picture = Image.open(io.BytesIO(found.bare), formats=(found.kind,))
    if picture.size != (found.width, found.height):
        raise Unreadable(f"is damaged: it claims {found.width} x {found.height} and {picture.size} pixels")
    return picture


def _raster_picture(content: bytes, seen: _Seen) -> Image.Image:
    """A PPM, by its own range; 16-bit grey stays so."""
    found = raster(content)
    lines = np.frombuffer(content, np.uint8, found.line * found.height, found.at).reshape(found.height, found.line)
    if found.most == 1:
        return Image.frombytes("1", (found.width, found.height), (~lines).tobytes())
    if found.most == 255:
        samples = lines
    elif found.most < 256:
        samples = _scaled(lines, found.most)
    else:
        wide = lines.reshape(-1).view(">u2").reshape(found.height, -1)
        if found.channels == 1:
            return Image.fromarray(wide.astype(np.uint16))
        if found.most == 65_535:
            seen.most = int(wide.max())
        samples = np.empty(wide.shape, np.uint8)
        step = max(1, _BAND_PIXELS // found.width)
        for top in range(0, found.height, step):
            samples[top : top + step] = _scaled(wide[top : top + step], found.most)
    return Image.fromarray(samples.reshape(found.height, found.width, 3) if found.channels == 3 else samples)


def _scaled(samples: npt.NDArray[np.unsignedinteger], full: int) -> npt.NDArray[np.uint8]:
    """From 0 to `full`, to 0 to 255, rounded."""
    levels: npt.NDArray[np.uint8] = ((np.minimum(samples, full).astype(np.uint32) * 255 + full // 2) // full).astype(
        np.uint8
    )
    return levels


def _fit(picture: Image.Image, height: int, width: int, channels: int, seen: _Seen, found: Outline | None) -> Pixels:
    """The pixels, made band by band: only one band of rows is ever held in another form than the decoder's.

    Scaling in two steps, across and then down, is what Pillow does itself (in either order, by version and size).
    """
    orientation = found.orientation if found is not None else 1
    across, down = picture.size if orientation < 5 else picture.size[::-1]
    narrow = Image.new("L" if channels == 1 else "RGB", (width, down))
    step = max(1, _BAND_PIXELS // across)
    for top in range(0, down, step):
        bottom = min(down, top + step)
        band = _plain(_upright(picture, orientation, top, bottom), channels, seen, found)
        if across != width:
            band = band.resize((width, bottom - top), _BILINEAR)
        narrow.paste(band, (0, top))
    if seen.most_opaque == 0 and seen.least_opaque == 0:
        raise Unreadable("is transparent everywhere, so that nothing is to be seen: give it without transparency")
    if found is not None and 0 < seen.most < _TWELVE_BITS:
        raise Unreadable(
            f"has 16-bit pixels of which the lightest is {_lightest(found, seen)} of 65535, as from a sensor of 12 "
            "bits or fewer: scale them to 0 to 65535, or save it with 8 bits"
        )
    if down != height:
        narrow = narrow.resize((width, height), _BILINEAR)  # under the same name, so that the other's memory is free
    return np.asarray(narrow, np.uint8).reshape(height, width, channels)


def _upright(picture: Image.Image, orientation: int, top: int, bottom: int) -> Image.Image:
    """Rows `top` to `bottom` of the picture turned upright."""
    wide, high = picture.size
    on_its_side = orientation >= 5
    if orientation in (3, 4, 7, 8):  # rows count from the far end
        length = wide if on_its_side else high
        top, bottom = length - bottom, length - top
    part = picture.crop((top, 0, bottom, high) if on_its_side else (0, top, wide, bottom))
    if orientation == 1:
        return part
    return part.transpose(_TURNS[orientation])  # type: ignore[arg-type] # numbers will do


def _plain(part: Image.Image, channels: int, seen: _Seen, found: Outline | None) -> Image.Image:
    """In mode L or RGB."""
    see_through = part.info.get("transparency")
    if found is not None and found.palette and part.mode in ("P", "L"):
        indices = np.asarray(part)
        beyond = indices >= found.palette
        if isinstance(see_through, int):
            beyond &= indices != see_through  # a colour that is not seen need not be there
        if beyond.any():
            raise Unreadable("is damaged: its pixels name colours that its palette does not have; copy it again")
    if found is not None and found.full:
        wide = np.asarray(part).astype(np.uint32)
        if found.full == 65_535:
            seen.most = max(seen.most, int(wide.max()))
        grey = _scaled(found.full - np.minimum(wide, found.full) if found.inverted else wide, found.full)
        if isinstance(see_through, int):
            seen.least_opaque = min(seen.least_opaque, 0 if (wide == see_through).any() else 255)
            seen.most_opaque = max(seen.most_opaque, 255 if (wide != see_through).any() else 0)
            grey[wide == see_through] = _BACKGROUND[0]
        else:
            seen.most_opaque = 255
        part = Image.fromarray(grey)
    elif see_through is not None or part.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        part = part.convert({"La": "LA", "RGBa": "RGBA"}.get(part.mode, part.mode)).convert("RGBA")
        opaque = part.getchannel("A")
        levels = np.asarray(opaque)
        seen.least_opaque = min(seen.least_opaque, int(levels.min()))
        seen.most_opaque = max(seen.most_opaque, int(levels.max()))
        colours = part.convert("RGB")
        if found is not None and found.upper_byte:
            seen.upper_bytes(np.asarray(colours)[levels > 0])
        part = Image.new("RGB", colours.size, _BACKGROUND)
        part.paste(colours, mask=opaque)
    else:
        seen.most_opaque = 255
        if found is not None and found.upper_byte:
            seen.upper_bytes(np.asarray(part.convert("RGB") if part.mode == "RGBX" else part))
        if part.mode == "CMYK":
            part = part.convert("RGB")
        elif part.mode not in ("1", "L", "P", "RGB", "RGBX"):
            raise Unreadable(f"is not read, as its colours are {part.mode}: convert it to RGB")
    mode = "L" if channels == 1 else "RGB"
    return part if part.mode == mode else part.convert(mode)


def _warnings(found: Outline, seen: _Seen, height: int, width: int) -> tuple[str, ...]:
    across, down = (found.width, found.height) if found.orientation < 5 else (found.height, found.width)
    said = []
    if across < width or down < height:
        which = "fewer" if across < width and down < height else "fewer across" if across < width else "fewer down"
        said.append(f"is {across} x {down} pixels, {which} than the {width} x {height} that the network takes")
    if seen.least_opaque < 255:
        said.append("is transparent in part: it was laid on black")
    if found.several:
        said.append("holds several frames or pages: the first was taken")
    if 0 < seen.most < _FOURTEEN_BITS:
        said.append(
            f"has 16-bit pixels of which the lightest is {_lightest(found, seen)} of 65535: "
            "if they are those of a sensor of 14 bits, scale them to 0 to 65535"
        )
    return tuple(said)


def _lightest(found: Outline, seen: _Seen) -> str:
    return f"{'at most ' if found.upper_byte else ''}{seen.most}"


def _broken(found: Outline, error: Exception) -> Unreadable:
    """Why a decoder gave no picture."""
    # Pillow knows some files only once it decodes them, and then says in words alone that they are none that it reads.
    foreign = str(error).lower().startswith(("unsupported", "unknown"))
    if foreign or isinstance(error, UnidentifiedImageError):
        return Unreadable(f"is a {found.kind} of a kind that is not read: save it as PNG or JPEG, with 8 bits")
    if isinstance(error, MemoryError):
        return Unreadable(f"is {found.width} x {found.height} pixels, for which memory does not do: make it smaller")
    reason = "".join(c for c in (str(error).splitlines() or [""])[0] if c.isprintable())[:200]
    return Unreadable(f"is damaged ({reason or type(error).__name__}): it cannot be decoded; copy it again")
