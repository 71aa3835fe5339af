"""Messages of the inference protocol as hypothesis draws them: any, likely ones, broken ones.

Words owned here: likely (an inference of a model that there is, by names that it has).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

_DATATYPES = ("BOOL", "UINT8", "UINT64", "INT8", "INT64", "FP16", "FP32", "FP64", "BYTES", "BF16", "")
_SIDES = (0, 1, 2, 3, 4, 8, 28, 784, 65_536, 2**31, 2**63 - 1, -1, -(2**63))
_PARAMETERS = ("timeout", "priority", "deadline_ms", "accuracy", "classification", "binary_data", "sequence_id")
_FEW = 3  # items of a list


class Messages:
    """Draws calls for models whose `forms` (inputs and outputs as their metadata tell them) are known."""

    def __init__(self, forms: Mapping[str, tuple[Sequence[Any], Sequence[Any]]], spare: str) -> None:
        """`spare` is the one model that is told to be loaded or unloaded."""
        from hypothesis import strategies
        from tritonclient.grpc import service_pb2

        self._st: Any = strategies
        self._pb: Any = service_pb2
        self._forms, self._spare = forms, spare
        service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        self._methods = {method.name: method.input_type for method in service.methods}

    def drawn(self) -> Any:
        """A strategy of a call's name and the messages that it brings, packed."""
        st = self._st
        good = self._likely() | self._pictures()
        likely = st.one_of(good, good.flatmap(self._damaged))
        some = st.lists(likely, min_size=1, max_size=4)
        return st.one_of(
            st.tuples(st.just("ModelInfer"), likely.map(lambda one: [one])),
            st.tuples(st.just("ModelInfer"), likely.map(lambda one: [one])),
            st.tuples(st.just("ModelStreamInfer"), some),
            st.sampled_from(sorted(self._methods)).flatmap(self._any_call),
            st.tuples(st.sampled_from(sorted(self._methods)), st.binary(max_size=64).map(lambda one: [one])),
        )

    def _any_call(self, name: str) -> Any:
        """Of any fields; whoever loads and unloads does it to the spare model."""
        st = self._st

        def packed(message: Any) -> list[bytes]:
            if "Repository" in name and hasattr(message, "model_name"):
                message.model_name = self._spare
            content: bytes = message.SerializeToString()
            return [content]

        return st.tuples(st.just(name), self._message(self._methods[name], 4).map(packed))

    def _message(self, descriptor: Any, depth: int) -> Any:
        """Any message of a kind, whose messages within go so deep."""
        from google.protobuf import message_factory

        st, kind = self._st, message_factory.GetMessageClass(descriptor)
        if depth == 0:
            return st.builds(kind)
        fields = {}
        for field in descriptor.fields:
            entry = field.message_type
            if entry is not None and entry.GetOptions().map_entry:
                key, value = entry.fields
                drawn = st.dictionaries(self._value(key, depth), self._value(value, depth - 1), max_size=_FEW)
                if value.message_type is not None:
                    continue  # its values are put in, and not given: likely messages have them
            elif field.is_repeated:
                drawn = st.lists(self._value(field, depth - 1), max_size=_FEW)
            else:
                drawn = self._value(field, depth - 1)
            fields[field.name] = drawn
        one_of = {field.name for group in descriptor.oneofs for field in group.fields}
        chosen = {name: drawn for name, drawn in fields.items() if name not in one_of}
        return st.fixed_dictionaries({}, optional=chosen).map(lambda given: kind(**given))

    def _value(self, field: Any, depth: int) -> Any:
        """A value for a field, or for one of its items."""
        st = self._st
        if field.message_type is not None:
            return self._message(field.message_type, max(depth, 0))
        text = st.sampled_from([*self._forms, "", "1", "\0"]) | st.text(max_size=8)
        return {
            field.CPPTYPE_STRING: st.binary(max_size=8) if field.type == field.TYPE_BYTES else text,
            field.CPPTYPE_BOOL: st.booleans(),
            field.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
            field.CPPTYPE_INT64: st.sampled_from(_SIDES) | st.integers(-(2**63), 2**63 - 1),
            field.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
            field.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
            field.CPPTYPE_FLOAT: st.floats(width=32),
            field.CPPTYPE_DOUBLE: st.floats(),
        }[field.cpp_type]

    def _likely(self) -> Any:
        """A packed inference of a model that there is."""
        return self._st.composite(self._likely_of)()

    def _likely_of(self, draw: Any) -> bytes:
        st, pb = self._st, self._pb
        name = draw(st.sampled_from(sorted(self._forms)))
        inputs, outputs = self._forms[name]
        message = pb.ModelInferRequest(model_name=name, id=draw(st.text(max_size=3)))
        message.model_version = "" if self._mostly(draw) else draw(st.sampled_from(["1", "2"]))
        if not self._mostly(draw):
            self._put_parameters(draw, message.parameters)
        raw = draw(st.booleans())
        for one in inputs if self._mostly(draw) else [*inputs, *inputs]:
            tensor = message.inputs.add(name=one.name, datatype=one.datatype)
            if not self._mostly(draw):
                tensor.name = draw(st.sampled_from(["picture", "x", ""]))
            if not self._mostly(draw):
                tensor.datatype = draw(st.sampled_from(_DATATYPES))
            rows = draw(st.sampled_from([1, 2, 3])) if self._mostly(draw) else draw(st.sampled_from([0, 9]))
            tensor.shape.extend(rows if side == -1 else side for side in one.shape)
            if not self._mostly(draw):
                del tensor.shape[:]
                tensor.shape.extend(draw(st.lists(st.sampled_from(_SIDES), max_size=5)))
            if raw:
                message.raw_input_contents.append(self._raw(draw, tensor))
            else:
                self._put_contents(draw, tensor)
        for one in outputs:
            if draw(st.booleans()):
                wanted = message.outputs.add(name=one.name)
                if draw(st.booleans()):
                    wanted.parameters["classification"].int64_param = draw(st.sampled_from([1, 3, 0, -1, 2**40]))
        content: bytes = message.SerializeToString()
        return content

    def _pictures(self) -> Any:
        """A packed inference of encoded pictures, some of whose bytes may be others'."""
        st, file = self._st, io.BytesIO()
        Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, "PNG")
        whole = file.getvalue()
        one = st.one_of(st.just(whole), self._damaged(whole), st.binary(max_size=16))

        def packed(name: str, files: list[bytes]) -> bytes:
            message = self._pb.ModelInferRequest(model_name=name)
            tensor = message.inputs.add(name="picture", datatype="BYTES", shape=[len(files)])
            tensor.contents.bytes_contents.extend(files)
            content: bytes = message.SerializeToString()
            return content

        return st.builds(packed, st.sampled_from(sorted(self._forms)), st.lists(one, max_size=3))

    def _raw(self, draw: Any, tensor: Any) -> bytes:
        """Bytes of a tensor: as many as its shape says, in most cases."""
        st, count = self._st, 1
        for side in tensor.shape:
            count *= side
        if tensor.datatype == "BYTES":
            several = count if 0 <= count <= 64 and self._mostly(draw) else draw(st.integers(0, 4))
            items = [draw(self._item()) for _ in range(several)]
            packed = b"".join(len(item).to_bytes(4, "little") + item for item in items)
            return packed if self._mostly(draw) else packed[: draw(st.integers(0, len(packed)))]
        size = {"8": 1, "6": 2, "2": 4, "4": 8}.get(tensor.datatype[-1:], 1)
        size = 2 if tensor.datatype.endswith("16") else size
        if not 0 <= count * size <= 1 << 16 or not self._mostly(draw):
            return bytes(draw(st.binary(max_size=64)))
        return bytes([draw(st.integers(0, 255))]) * (count * size)

    def _mostly(self, draw: Any) -> bool:
        """In fifteen of sixteen cases."""
        return bool(draw(self._st.integers(0, 15)))

    def _item(self) -> Any:
        """Of BYTES."""
        return self._st.text(max_size=8).map(str.encode) | self._st.binary(max_size=8)

    def _put_contents(self, draw: Any, tensor: Any) -> None:
        st = self._st
        kinds = {
            "int_contents": st.integers(-(2**31), 2**31 - 1),
            "int64_contents": st.integers(-(2**63), 2**63 - 1),
            "uint_contents": st.integers(0, 300),
            "fp32_contents": st.floats(width=32),
            "fp64_contents": st.floats(),
            "bool_contents": st.booleans(),
            "bytes_contents": self._item(),
        }
        fitting = {"UINT8": "uint_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
        kind = fitting.get(tensor.datatype, "int_contents")
        if not self._mostly(draw):
            kind = draw(st.sampled_from(sorted(kinds)))
        count = 1
        for side in tensor.shape:
            count *= side
        whole = 0 <= count <= 4_096 and self._mostly(draw)
        one = draw(kinds[kind])
        getattr(tensor.contents, kind).extend([one] * (count if whole else draw(st.integers(0, 5))))

    def _put_parameters(self, draw: Any, parameters: Any) -> None:
        st = self._st
        values = {
            "int64_param": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2_000_000),
            "bool_param": st.booleans(),
            "string_param": st.text(max_size=5),
            "double_param": st.floats(),
            "uint64_param": st.integers(0, 2**64 - 1),
        }
        for name in draw(st.lists(st.sampled_from(_PARAMETERS), max_size=2, unique=True)):
            kind = draw(st.sampled_from(sorted(values)))
            setattr(parameters[name], kind, draw(values[kind]))

    def _damaged(self, content: bytes) -> Any:
        """The message with some of its bytes changed, or its end left out."""
        st, size = self._st, len(content)
        places = st.lists(st.tuples(st.integers(0, max(size - 1, 0)), st.integers(0, 255)), min_size=1, max_size=4)

        def changed(where: list[tuple[int, int]], left: int) -> bytes:
            altered = bytearray(content)
            for place, value in where:
                if place < size:
                    altered[place] = value
            return bytes(altered[: size - left])

        return st.builds(changed, places, st.sampled_from([0, 0, 0, 1, 5]).filter(lambda left: left <= size))
