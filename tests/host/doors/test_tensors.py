"""Tensors from bytes and plain values, and back; what lies about its size."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from edgesight.host.doors.served import Code, Refused, Tensor
from edgesight.host.doors.tensors import (
    BYTES,
    DATATYPES,
    check_names,
    check_request_parameters,
    check_tensor_parameters,
    classes_of,
    from_plain,
    from_raw,
    timeout_of,
    to_plain,
    to_raw,
)

NUMBERS = sorted(set(DATATYPES) - {BYTES})


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    shape = draw(drawn.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    if datatype == BYTES:
        elements = draw(st.lists(st.binary(max_size=5), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        values = np.empty(len(elements), object)
        values[:] = elements
        return Tensor("x", datatype, values.reshape(shape))
    dtype = DATATYPES[datatype]
    elements_ = drawn.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return Tensor("x", datatype, draw(drawn.arrays(dtype, shape, elements=elements_)))


@given(tensors())
def test_raw_and_back_is_the_same(tensor: Tensor) -> None:
    back = from_raw("x", tensor.datatype, list(tensor.values.shape), to_raw(tensor))
    assert back.values.dtype == DATATYPES[tensor.datatype]
    assert back.values.shape == tensor.values.shape
    assert back.values.tolist() == tensor.values.tolist()


@given(tensors(), st.booleans())
def test_plain_and_back_is_the_same(tensor: Tensor, nested: bool) -> None:
    if tensor.datatype == BYTES:
        elements = [str(element).encode() for element in tensor.values.ravel()]
        values = np.empty(len(elements), object)
        values[:] = elements
        tensor = Tensor("x", BYTES, values.reshape(tensor.values.shape))
    flat = to_plain(tensor)
    data: object = flat
    if nested and tensor.datatype != BYTES and 0 not in tensor.values.shape:
        data = tensor.values.tolist()
    back = from_plain("x", tensor.datatype, list(tensor.values.shape), data)
    assert back.values.dtype == DATATYPES[tensor.datatype]
    assert back.values.tolist() == tensor.values.tolist()


def test_numbers_are_not_copied_and_bytes_of_a_picture_are_whole() -> None:
    raw = bytes(range(12))
    assert np.shares_memory(from_raw("x", "UINT8", [3, 4], raw).values, np.frombuffer(raw, np.uint8))
    picture = b"\xff\xd8" + bytes(70_000)
    (element,) = from_raw("x", BYTES, [1], to_raw(from_plain("x", BYTES, [1], [picture]))).values
    assert element == picture


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "said"),
    [
        ("FP31", [1], b"", "datatype 'FP31' is none of"),
        ("BF16", [1], b"ab", "datatype 'BF16'"),
        ("FP32", [2], b"\0" * 7, "7 bytes came, but shape [2] of FP32 takes 8"),
        ("FP32", [-1], b"", "integers of at least 0"),
        ("FP32", [True], b"", "integers of at least 0"),
        ("FP32", [1.0], b"", "integers of at least 0"),
        ("FP32", ["1"], b"", "integers of at least 0"),
        ("UINT8", [1] * 33, b"a", "33 dimensions"),
        ("UINT8", [2**62, 2**62], b"", "more than a message may hold"),
        ("UINT8", [0, 2**62, 2**62], b"", "more than a message may hold"),
        ("FP64", [1 << 24], b"", "more than a message may hold"),
        ("BOOL", [2], b"\1\2", "a byte of BOOL must be 0 or 1"),
        (BYTES, [2**20 + 1], b"", "more than a message may hold"),
        (BYTES, [2], b"\0\0\0", "too few for the lengths"),
        (BYTES, [1], b"\xff\xff\xff\xffabc", "element 0 says that it has 4294967295 bytes, and 3 are left"),
        (BYTES, [2], b"\4\0\0\0abcd", "end after 1 of 2"),
        (BYTES, [1], b"\1\0\0\0abc", "2 bytes are left after its 1 elements"),
        (BYTES, [0], b"a", "1 bytes are left"),
    ],
)
def test_raw_bytes_that_lie_are_refused(datatype: str, shape: list[Any], raw: bytes, said: str) -> None:
    with pytest.raises(Refused, match="tensor 'x'") as caught:
        from_raw("x", datatype, shape, raw)
    assert said in str(caught.value)
    assert caught.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("INT32", [2], [1], "1 values came, its shape [2] has 2"),
        ("INT32", [2, 2], [[1, 2], [3]], "not every list at depth 2"),
        ("INT32", [2, 2], [[1, 2], 3], "not nested as its shape"),
        ("INT32", [2, 2], [[1, 2]], "not nested as its shape"),
        ("INT32", [2], [[1], [2]], "not nested as its shape"),
        ("INT32", [1, 1, 1], [[1]], "nested 2 deep"),
        ("INT32", [1], [[[[[1]]]]], "not nested as its shape"),
        ("INT32", [2], "ab", "must be a list"),
        ("INT32", [2], {"a": 1}, "must be a list"),
        ("INT32", [1], [1.5], "INT32 takes int, not float"),
        ("INT32", [1], [True], "INT32 takes int, not bool"),
        ("INT32", [1], [None], "not NoneType"),
        ("INT32", [1], ["1"], "not str"),
        ("INT32", [1], [2**31], "does not fit into INT32"),
        ("UINT8", [1], [-1], "-1 does not fit into UINT8"),
        ("UINT64", [1], [2**64], "does not fit into UINT64"),
        ("FP32", [1], [1e300], "does not fit into FP32"),
        ("FP16", [1], [70_000], "does not fit into FP16"),
        ("FP64", [1], [10**400], "does not fit into FP64"),
        ("BOOL", [1], [1], "BOOL takes bool, not int"),
        (BYTES, [1], [1], "BYTES takes texts, not int"),
        (BYTES, [1], ["\ud800"], "half of a surrogate pair"),
    ],
)
def test_plain_values_that_do_not_fit_are_refused(datatype: str, shape: list[Any], data: Any, said: str) -> None:
    with pytest.raises(Refused, match="tensor 'x'") as caught:
        from_plain("x", datatype, shape, data)
    assert said in str(caught.value)


def test_a_shape_takes_no_memory_that_its_bytes_do_not_fill() -> None:
    tracemalloc.start()
    try:
        for datatype, shape in (("UINT8", [1 << 26]), (BYTES, [1 << 20]), ("FP64", [1 << 23])):
            with pytest.raises(Refused):
                from_raw("x", datatype, shape, b"\1\0\0\0")
            with pytest.raises(Refused):
                from_plain("x", datatype, shape, [0])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_one_long_text_among_short_ones_takes_no_more_than_its_own_memory() -> None:
    texts = ["x" * 1_000_000] + ["y"] * 10_000
    tracemalloc.start()
    try:
        from_plain("x", BYTES, [len(texts)], texts)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["sequence_id", "sequence_start", "sequence_end"])
def test_sequences_are_refused_by_name(name: str) -> None:
    with pytest.raises(Refused, match=name) as caught:
        check_request_parameters({name: 7})
    assert caught.value.code is Code.UNIMPLEMENTED
    check_request_parameters({name: 0})


@pytest.mark.parametrize("name", ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"])
def test_shared_memory_is_refused_by_name(name: str) -> None:
    with pytest.raises(Refused, match=name) as caught:
        check_tensor_parameters("x", {name: 0})
    assert caught.value.code is Code.UNIMPLEMENTED


def test_the_nearer_limit_of_time_holds() -> None:
    assert timeout_of({}) is None
    assert timeout_of({"timeout": 0}) is None
    assert timeout_of({"timeout": 2_000_000}) == 2.0
    assert timeout_of({"deadline_ms": 1_500.0, "timeout": 2_000_000}) == 1.5
    for wrong in (-1, "1", 1.5, True, 2**63):
        with pytest.raises(Refused, match="timeout must be a whole number of microseconds"):
            timeout_of({"timeout": wrong})
    assert timeout_of({"deadline_ms": "1500.5"}) == 1.5005
    assert timeout_of({"deadline_ms": "0"}) is None
    for odd in ("soon", "", "nan", "1e400", float("nan"), float("inf"), False):
        with pytest.raises(Refused, match="deadline_ms must be a number, or a text that is one"):
            timeout_of({"deadline_ms": odd})
    for much in (-1.0, "-1", 1e300):
        with pytest.raises(Refused, match="deadline_ms must be a number of milliseconds of at least 0"):
            timeout_of({"deadline_ms": much})
    for strange in (-1, "high", 1.0, True):
        with pytest.raises(Refused, match="priority must be a whole number"):
            timeout_of({"priority": strange})


def test_classes_are_a_whole_number() -> None:
    assert classes_of("x", {}) == 0
    assert classes_of("x", {"classification": 3}) == 3
    for wrong in (-1, "1", 1.5, True, 2**31):
        with pytest.raises(Refused, match="classification must be a whole number"):
            classes_of("x", {"classification": wrong})


def test_names_are_few_and_differ() -> None:
    check_names("input", ["a", "b"])
    for names, said in ((["a", "a"], "'a' comes twice"), (["", "a"], "no name"), (["a"] * 257, "257 inputs")):
        with pytest.raises(Refused, match=said):
            check_names("input", names)


def test_what_is_no_text_is_not_given_as_text() -> None:
    values = np.empty(1, object)
    values[0] = b"\xff"
    with pytest.raises(Refused, match="ask for it with binary_data"):
        to_plain(Tensor("x", BYTES, values))
