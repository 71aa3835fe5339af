"""Images survive the way: whole when nothing is lost, repaired when something is, refused when bytes are hostile."""

from __future__ import annotations

import contextlib
import itertools
import math
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgesight.host.link import jpeg, parity, strips
from edgesight.host.link.block_line import block_line
from edgesight.host.link.concealment import fill
from edgesight.host.link.datagrams import (
    MAX_DATAGRAM,
    MAX_STRIPS,
    REQUEST_BITS,
    STRIP_HEADER,
    TRACE_BYTES,
    Cancel,
    Form,
    Kind,
    LinkError,
    Reply,
    Status,
    Strip,
    Trace,
    parse,
)
from edgesight.host.link.jpeg import jpeg_tables
from edgesight.host.link.strips import Assembly, TooLittle, assemble, cut, encode, through_loss
from tests.host.photographs import Pixels, parsed, picture

TINY = [(28, 28, 1), (32, 32, 3), (1, 1, 1), (3, 2, 3), (63, 63, 3)]
LARGE = [(64, 64, 3), (64, 64, 1), (100, 77, 3), (224, 224, 3), (65, 3, 1)]


def psnr(a: Pixels, b: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("shape", TINY)
def test_a_tiny_image_arrives_bit_for_bit_in_any_order_and_repeated(shape: tuple[int, int, int]) -> None:
    image = picture(shape)
    strips = parsed(image)
    assert strips[0].form.kind == Kind.RAW
    assembly = assemble([*reversed(strips), *strips])
    assert assembly.missing == 0
    assert np.array_equal(assembly.image(), image)


@pytest.mark.parametrize("shape", LARGE)
def test_a_large_image_arrives_as_its_jpeg(shape: tuple[int, int, int]) -> None:
    image = picture(shape)
    strips = parsed(image)
    assert strips[0].form.kind == Kind.JPEG
    arrived = assemble(reversed(strips)).image()
    assert arrived.shape == image.shape
    assert psnr(arrived, image) > 32


@pytest.mark.parametrize("shape", TINY + LARGE)
def test_datagrams_fit_the_way(shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    for image in (picture(shape), noise):
        assert max(len(datagram) for datagram in cut(image, request=2**48 - 1, left_ms=10**9)) <= MAX_DATAGRAM


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (63, 63, 3), (100, 77, 3), (224, 224, 3)])
def test_one_lost_strip_hurts_little(shape: tuple[int, int, int]) -> None:
    image = picture(shape)
    strips = parsed(image)
    whole = assemble(strips).image()
    for lost in range(len(strips)):
        assembly = assemble(strip for strip in strips if strip.index != lost)
        assert assembly.missing == 1
        repaired = assembly.image()
        assert psnr(repaired, image) > 24
        if strips[0].form.kind == Kind.RAW:
            spacing = math.isqrt(strips[0].form.count)
            row, column = divmod(lost, spacing)
            untouched = np.ones(shape[:2], bool)
            untouched[row::spacing, column::spacing] = False
            assert np.array_equal(repaired[untouched], whole[untouched])


@pytest.mark.parametrize("shape", [(28, 28, 1), (100, 77, 3)])
def test_any_subset_of_strips_gives_an_image(shape: tuple[int, int, int]) -> None:
    strips = parsed(picture(shape))
    for kept in range(1, len(strips) + 1):
        for subset in itertools.combinations(strips, kept):
            assert assemble(subset).image().shape == shape


@settings(deadline=None)
@given(st.data())
def test_any_strips_lost_up_to_the_parity_leave_no_trace(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(28, 28, 1), (63, 63, 3), (100, 77, 3), (64, 64, 1)]))
    parity = data.draw(st.integers(1, 6))
    image = picture(shape)
    strips = [Strip.parse(datagram) for datagram in cut(image, request=7, left_ms=50, parity=parity)]
    lost = data.draw(st.sets(st.sampled_from(range(len(strips))), max_size=parity))
    came = data.draw(st.permutations([strip for strip in strips if strip.index not in lost]))
    assembly = assemble(came)
    assert assembly.missing == 0
    assert np.array_equal(assembly.image(), assemble(parsed(image)).image())


@settings(deadline=None)
@given(st.data())
def test_any_strips_in_any_order_and_number_give_an_image_or_a_link_error(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(28, 28, 1), (63, 63, 3), (100, 77, 3)]))
    strips = [Strip.parse(datagram) for datagram in cut(picture(shape), request=7, left_ms=50, parity=2)]
    came = data.draw(st.lists(st.sampled_from(strips), max_size=2 * len(strips)))
    try:
        assert assemble(came).image().shape == shape
    except LinkError:
        assert len({strip.index for strip in came if strip.index < strip.form.count}) < strips[0].form.count / 8


def one_block_strip(form: Form, first: int) -> Strip:
    """The smallest strip there is: a block without content."""
    return Strip(1, 0, 1_000, form, first % form.count, struct.pack("!H", first) + b"\x00")


@pytest.mark.parametrize("side", [64, 224, 512, 1_024])
@pytest.mark.parametrize("channels", [1, 3])
def test_next_to_nothing_of_an_image_is_not_made_into_one(side: int, channels: int) -> None:
    """Making up all the others around one block took 0.2 s at 1024 pixels, for 30 bytes."""
    for count in (1, 4, 16):
        assembly = assemble([one_block_strip(Form(Kind.JPEG, side, side, channels, 85, count), 0)])
        with pytest.raises(TooLittle, match=r"% of the image has come: at least 10 % must"):
            assembly.image()


def test_a_raw_image_of_which_one_pixel_came_is_not_made_up() -> None:
    form = Form(Kind.RAW, 63, 63, 1, 0, 63 * 63)
    with pytest.raises(TooLittle):
        assemble([Strip(1, 0, 1_000, form, 0, b"\x07")]).image()


def test_far_from_all_that_is_known_the_mean_stands_in() -> None:
    grid = np.zeros((128, 128, 1), np.float32)
    known = np.zeros((128, 128), np.bool_)
    known[:16] = True
    grid[:8] = 100
    filled = fill(grid, known)
    assert filled[-1].min() == filled[-1].max() == 50
    assert np.array_equal(filled[:16], grid[:16])


def test_headers_are_those_of_the_size_and_kept_by_none() -> None:
    for channels, quality in ((1, 15), (3, 85)):
        for height, width in ((1, 1), (64, 100), (224, 224), (1_024, 1_023)):
            encoded = jpeg.encode_blocks(np.zeros((height, width, channels), np.uint8), quality)
            assert encoded.startswith(jpeg.header_of_blocks(height, width, channels, quality))
            for progressive in (False, True):
                encoded = jpeg._to_entire(np.zeros((height, width, channels), np.uint8), quality, progressive)
                assert encoded.startswith(jpeg._header_of_entire(height, width, channels, quality, progressive))
    assert jpeg._blank_header.cache_info().currsize <= 570


def test_parity_strips_that_lie_are_refused_and_the_image_is_concealed() -> None:
    strips = [Strip.parse(datagram) for datagram in cut(picture((100, 77, 3)), request=7, left_ms=50, parity=1)]
    lying = replace(strips[-1], payload=bytes(len(strips[-1].payload)))
    concealed = assemble(strips[1:-1]).image()
    assembly = assemble([*strips[1:-1], lying])
    assert (assembly.image() == concealed).all()
    assert assembly.missing == 1


def test_who_receives_strips_recovers_none(monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture((100, 77, 3))
    strips = [Strip.parse(datagram) for datagram in cut(image, request=7, left_ms=50, parity=2)]
    whole = assemble(strips).image()
    solved: list[int] = []
    recover = parity.recover

    def counted(came: Any, coded: Any, count: int) -> dict[int, bytes]:
        solved.append(count)
        return recover(came, coded, count)

    monkeypatch.setattr(parity, "recover", counted)
    assembly = assemble(strips[2:])
    assert (assembly.missing, solved) == (0, [])
    for _ in range(2):
        assert (assembly.image() == whole).all()
    assert len(solved) == 1
    assert not assembly.add(strips[-1])
    assert assembly.missing == 0


@pytest.mark.parametrize("shape", [(28, 28, 1), (224, 224, 3)])
@pytest.mark.parametrize("largest", [300, 700])
def test_smaller_datagrams_are_respected(shape: tuple[int, int, int], largest: int) -> None:
    datagrams = cut(picture(shape), request=7, left_ms=50, parity=3, largest=largest)
    assert max(map(len, datagrams)) <= largest
    assert assemble(map(Strip.parse, datagrams)).missing == 0


def test_a_path_for_no_datagrams_is_refused() -> None:
    with pytest.raises(LinkError, match="datagrams of at most -8 bytes"):
        cut(picture((28, 28, 1)), request=7, left_ms=50, largest=-8)


def test_strips_are_filled_evenly() -> None:
    sizes = [len(datagram) for datagram in cut(picture((512, 512, 3)), request=7, left_ms=50)]
    assert min(sizes) > 0.8 * MAX_DATAGRAM


@pytest.mark.parametrize(("rows", "columns"), [(14, 14), (16, 16), (14, 19), (32, 32), (64, 64), (1, 64)])
def test_blocks_that_travel_together_lie_apart(rows: int, columns: int) -> None:
    line = block_line(rows, columns)
    assert sorted(line.tolist()) == list(range(rows * columns))
    places = np.stack(np.divmod(line, columns))
    for ahead in range(1, 9):
        assert np.abs(places[:, ahead:] - places[:, :-ahead]).max(axis=0).min() >= 2


def test_a_repaired_patch_is_far_better_than_a_grey_hole() -> None:
    image = picture((224, 224, 3))
    strips = parsed(image)
    lossy = [strip for strip in strips if strip.index % 4]
    repaired = assemble(lossy).image()
    hole = image.copy()
    changed = (repaired.astype(int) - assemble(strips).image()) != 0
    hole[changed] = 128
    assert psnr(repaired, image) > psnr(hole, image) + 5


def test_fill_reproduces_a_constant_and_keeps_what_is_known() -> None:
    known = np.random.default_rng(2).random((20, 30)) < 0.1
    grid = np.where(known[..., None], np.float32(7), np.float32(-1)).repeat(3, axis=2)
    np.testing.assert_allclose(fill(grid, known), 7, rtol=1e-6)


def test_fill_continues_an_edge_through_a_lost_pixel() -> None:
    grid = np.zeros((5, 5, 1), np.float32)
    grid[:, 2:] = 200
    known = np.ones((5, 5), bool)
    known[2, 2] = False
    assert fill(np.where(known[..., None], grid, 0).astype(np.float32), known)[2, 2, 0] > 195


def test_through_loss_is_seeded_and_gives_none_when_all_is_lost() -> None:
    image = picture((28, 28, 1))
    first, second = (through_loss(image, 0.5, np.random.default_rng(3)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert np.array_equal(first, second)
    assert through_loss(image, 1.0, np.random.default_rng(3)) is None
    untouched = through_loss(image, 0.0, np.random.default_rng(3))
    assert untouched is not None
    assert np.array_equal(untouched, image)


def test_images_that_no_datagram_can_hold_are_refused_by_name() -> None:
    with pytest.raises(LinkError, match=r"image is float64 \[28, 28, 1\]"):
        cut(np.zeros((28, 28, 1)), request=0, left_ms=0)  # type: ignore[arg-type]
    with pytest.raises(LinkError, match=r"image is uint8 \[28, 28\]"):
        cut(np.zeros((28, 28), np.uint8), request=0, left_ms=0)
    with pytest.raises(LinkError, match="at most 4096 a side"):
        cut(np.zeros((8, 4097, 1), np.uint8), request=0, left_ms=0)


def test_strips_of_two_images_do_not_mix() -> None:
    small, other = parsed(picture((28, 28, 1))), parsed(picture((32, 32, 3)))
    with pytest.raises(LinkError, match="has form"):
        assemble([small[0], other[1]])


def test_a_marker_inside_a_block_is_refused() -> None:
    strip = parsed(picture((64, 64, 3)))[0]
    hostile = strip.payload[:6] + b"\xff\xda" + strip.payload[8:]
    with pytest.raises(LinkError, match="marker inside a block"):
        Assembly(strip.form).add(Strip(1, 0, 0, strip.form, strip.index, hostile))


def test_the_header_of_a_strip_is_of_at_most_24_bytes() -> None:
    assert 16 <= STRIP_HEADER <= 24


def test_the_checksum_of_the_jpeg_tables_tells_another_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = jpeg_tables()
    jpeg_tables.cache_clear()
    monkeypatch.setattr(jpeg, "_SUBSAMPLING", "4:4:4")
    try:
        assert jpeg_tables() != mine
    finally:
        jpeg_tables.cache_clear()


def swallow(datagram: bytes) -> None:
    """Take in a datagram as the service does: only a LinkError may come of it."""
    with contextlib.suppress(LinkError):
        for message in parse(datagram):
            if not isinstance(message, Strip):
                continue
            assembly = Assembly(message.form)
            assembly.add(message)
            image = assembly.image()
            assert image.shape == (message.form.height, message.form.width, message.form.channels)


@given(st.binary(max_size=1_200))
def test_random_bytes_are_a_strip_or_a_link_error(datagram: bytes) -> None:
    swallow(datagram)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_mutated_strips_are_a_strip_or_a_link_error(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(28, 28, 1), (63, 63, 3), (64, 64, 3), (100, 77, 1)]))
    datagram = bytearray(data.draw(st.sampled_from(cut(picture(shape), request=1, left_ms=9))))
    for position, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(datagram) - 1), st.integers(0, 255)), max_size=6)
    ):
        datagram[position] = value
    swallow(bytes(datagram[: data.draw(st.integers(0, len(datagram)))]))
    swallow(bytes(datagram))


@given(st.binary(max_size=80))
def test_random_bytes_are_messages_or_a_link_error(datagram: bytes) -> None:
    with contextlib.suppress(LinkError):
        assert b"".join(message.pack() for message in parse(datagram)) == datagram


REQUESTS = st.integers(0, 2**48 - 1)
REPLIES = st.builds(
    Reply,
    REQUESTS,
    st.sampled_from(Status),
    label=st.integers(0, 2**16 - 1),
    missing=st.integers(0, MAX_STRIPS),
    service_us=st.integers(0, 2**32 - 1),
    queue_ms=st.integers(0, 255),
)


@given(REPLIES)
def test_a_reply_comes_back_as_it_was(reply: Reply) -> None:
    assert Reply.parse(reply.pack()) == reply


@given(st.lists(REPLIES | st.builds(Cancel, REQUESTS), min_size=1, max_size=8))
def test_messages_share_a_datagram(messages: list[Reply | Cancel]) -> None:
    assert parse(b"".join(message.pack() for message in messages)) == messages


@given(st.integers(0, 2**48 - 1), st.integers(0, 1), st.integers(0, 65_535), st.integers(0, 10_000))
def test_a_strip_comes_back_as_it_was(request_id: int, attempt: int, left_ms: int, accuracy: int) -> None:
    form = parsed(picture((28, 28, 1)))[0].form
    strip = Strip(request_id, attempt, left_ms, form, 2, b"payload", accuracy / 10_000)
    assert Strip.parse(strip.pack()) == strip


def test_one_kind_of_message_is_not_taken_for_another() -> None:
    with pytest.raises(LinkError, match="datagram of cancel: expected one reply"):
        Reply.parse(Cancel(1).pack())
    with pytest.raises(LinkError, match="expected one strip"):
        Strip.parse(Cancel(1).pack() * 2)


def test_a_pillow_that_cuts_no_blocks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save

    def ignore(picture: Image.Image, file: Any, form: str, **options: Any) -> None:
        save(picture, file, form, **{name: value for name, value in options.items() if "restart" not in name})

    monkeypatch.setattr(Image.Image, "save", ignore)
    monkeypatch.setattr(jpeg, "_blank_header", jpeg._blank_header.__wrapped__)
    with pytest.raises(LinkError, match=r"cuts no JPEG into blocks: install pillow>=10\.2"):
        cut(np.zeros((96, 96, 3), np.uint8), request=1, left_ms=10)


def test_a_large_image_does_not_come_raw() -> None:
    with pytest.raises(LinkError, match="raw image of 64 x 8"):
        Assembly(Form(Kind.RAW, 8, 64, 1, 0, 4, 0))


@pytest.mark.parametrize("shape", [(28, 28, 1), (63, 63, 3), (1, 1, 1), (64, 64, 1), (100, 77, 3), (224, 224, 3)])
def test_an_image_that_travels_entire_is_what_the_plain_one_decodes_to_in_fewer_bytes(
    shape: tuple[int, int, int],
) -> None:
    image = picture(shape)
    encoded = encode(image, kind=strips.kind_of(image, entire=True))
    assembly = assemble([Strip.parse(message) for message in encoded.pack(request=1, left_ms=9)])
    assert assembly.entire
    assert np.array_equal(assembly.image(), assemble(parsed(image)).image())
    assert encoded.size < 1.05 * encode(image).size
    assert len(encoded.payloads) <= len(encode(image).payloads)


def test_a_flat_image_that_travels_entire_takes_next_to_nothing() -> None:
    flat = np.full((28, 28, 1), 7, np.uint8)
    assert encode(flat, kind=Kind.PACKED).size < STRIP_HEADER + 32


@pytest.mark.parametrize("shape", [(28, 28, 1), (100, 77, 3)])
def test_without_all_of_it_an_image_that_travels_entire_is_none(shape: tuple[int, int, int]) -> None:
    image = picture(shape)
    encoded = encode(image, kind=strips.kind_of(image, entire=True), largest=300)
    assembly = assemble([Strip.parse(message) for message in encoded.pack(request=1, left_ms=9)[1:]])
    with pytest.raises(LinkError, match=r"1 of \d+ strips are missing"):
        assembly.image()


def entire(kind: Kind, shape: tuple[int, int, int], body: bytes) -> Assembly:
    form = Form(kind, *shape, 0 if kind.raw else 85, 1)
    assembly = Assembly(form)
    assembly.add(Strip(1, 0, 0, form, 0, body))
    return assembly


@pytest.mark.parametrize(
    "pixels", [bytes(783), bytes(785), bytes(10_000_000)], ids=["too few", "too many", "a bomb of 10 MB"]
)
def test_packed_pixels_are_as_many_as_the_image_has(pixels: bytes) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = b"\0" + deflate.compress(pixels) + deflate.flush()
    with pytest.raises(LinkError, match="packed pixels"):
        entire(Kind.PACKED, (28, 28, 1), body).image()


@given(st.binary(max_size=400))
def test_whatever_is_said_to_be_packed_is_an_image_or_a_link_error(body: bytes) -> None:
    with contextlib.suppress(LinkError):
        assert entire(Kind.PACKED, (5, 4, 3), body).image().shape == (5, 4, 3)


def test_a_whole_jpeg_holds_no_further_scan_and_no_other_marker() -> None:
    image = np.random.default_rng(1).integers(0, 256, (160, 160, 3), np.uint8)
    body = b"".join(encode(image, kind=Kind.WHOLE).payloads)
    assert body[0] == 1  # progressive
    assert np.array_equal(entire(Kind.WHOLE, (160, 160, 3), body).image(), assemble(parsed(image)).image())
    last = body.rindex(b"\xff\xda")
    with pytest.raises(LinkError, match="11 scans: expected 10"):
        entire(Kind.WHOLE, (160, 160, 3), body + body[last:]).image()
    with pytest.raises(LinkError, match="a marker that it should not have"):
        entire(Kind.WHOLE, (160, 160, 3), b"\1\xff\xc2\0\x04ab" + body).image()
    with pytest.raises(LinkError, match="at most 63 a side"):
        entire(Kind.PACKED, (64, 64, 1), b"")


def test_a_trace_goes_before_a_strip_and_says_what_it_was_given() -> None:
    said = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    trace, strip = Trace(7 << REQUEST_BITS | 3, said), cut(np.zeros((28, 28, 1), np.uint8), request=3, left_ms=9)[0]
    assert len(trace.pack()) == TRACE_BYTES
    assert parse(trace.pack() + strip) == [trace, Strip.parse(strip)]
    for wrong in (said.upper(), f"{said}-more", "01" + said[2:], ""):
        with pytest.raises(LinkError, match="no traceparent of version 00"):
            Trace(1, wrong).pack()
    with pytest.raises(LinkError, match=f"trace of {TRACE_BYTES - 1} bytes"):
        parse(trace.pack()[:-1])
    for begin, end in ((7, 23), (23, 31)):
        packed = bytearray(trace.pack())
        packed[begin:end] = bytes(end - begin)
        with pytest.raises(LinkError, match="id of zeros"):
            parse(bytes(packed))
