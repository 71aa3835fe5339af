"""KServe's own clients, by all of their calls; a script for an environment of its own, where EdgeSight is not.

`python kserve_calls.py HTTP GRPC MODEL INPUT PICTURES.npy` asks a model for uint8 pixels and prints a line of JSON for
each call: what it was, whether it did, and what came or was said.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np


async def _call(what: str, coroutine: Awaitable[Any], good: Callable[[Any], bool]) -> None:
    try:
        found = await coroutine
        done, said = good(found), ""
        if not done:
            said = str(found)
    except Exception as error:
        done, said = False, f"{type(error).__name__}: {error}"
    print(json.dumps({"call": what, "done": done, "said": said[:300]}))


async def main(http: str, grpc: str, model: str, taken: str, pictures: str) -> None:
    """Ask version 2 and version 1 over HTTP, and gRPC."""
    kserve: Any = importlib.import_module("kserve")
    clients: Any = importlib.import_module("kserve.inference_client")
    kinds: Any = importlib.import_module("kserve.protocol.infer_type")
    pixels = np.load(pictures)

    def request(binary: bool, **more: Any) -> Any:
        one = kserve.InferInput(taken, list(pixels.shape), "UINT8")
        one.set_data_from_numpy(pixels, binary_data=binary)
        return kserve.InferRequest(model_name=model, infer_inputs=[one], **more)

    def whole(found: Any) -> bool:
        return bool(found.outputs) and all(len(one.as_numpy()) == len(pixels) for one in found.outputs)

    base = f"http://{http}"
    async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2")) as rest:
        await _call("HTTP, version 2: live", rest.is_server_live(base), bool)
        await _call("HTTP, version 2: ready", rest.is_server_ready(base), bool)
        await _call("HTTP, version 2: model ready", rest.is_model_ready(base, model), bool)
        await _call("HTTP, version 2: no such model", rest.is_model_ready(base, "nothing"), lambda found: not found)
        for binary in (True, False):
            kind = "binary" if binary else "JSON"
            found = rest.infer(base, request(binary), model_name=model)
            await _call(f"HTTP, version 2: infer, {kind}", found, whole)
        (output, *_) = (await rest.infer(base, request(True), model_name=model)).outputs
        wanted = [kinds.RequestedOutput(output.name, parameters={"binary_data": True})]
        asked = request(True, request_outputs=wanted)
        await _call("HTTP, version 2: infer, one output", rest.infer(base, asked, model_name=model), whole)
    async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v1")) as rest:
        await _call("HTTP, version 1: live", rest.is_server_live(base), bool)
        await _call("HTTP, version 1: model ready", rest.is_model_ready(base, model), bool)
        found = rest.infer(base, {"instances": pixels.tolist()}, model_name=model)
        await _call("HTTP, version 1: infer", found, lambda found: len(found["predictions"]) == len(pixels))
    async with clients.InferenceGRPCClient(grpc) as called:
        await _call("gRPC: live", called.is_server_live(), bool)
        await _call("gRPC: ready", called.is_server_ready(), bool)
        await _call("gRPC: model ready", called.is_model_ready(model), bool)
        await _call("gRPC: no such model", called.is_model_ready("nothing"), lambda found: not found)
        for binary in (True, False):
            await _call(f"gRPC: infer, {'raw' if binary else 'contents'}", called.infer(request(binary)), whole)


if __name__ == "__main__":
    logging.disable()
    asyncio.run(main(*sys.argv[1:6]))
