"""What a config.pbtxt may say and is not read: refused where it would change answers, else said in the log.

Words owned here: unread field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# By each message's name: fields that are read, and those that change when or where a request runs, not its answer.
_READ: Mapping[str, Sequence[str]] = {
    "ModelConfig": (
        *("name", "platform", "backend", "version_policy", "max_batch_size", "input", "output", "instance_group"),
        *("dynamic_batching", "default_model_filename", "parameters"),
    ),
    "ModelOptimizationPolicy": (),
    "Graph": ("level",),
    "ModelInput": ("name", "data_type", "dims"),
    "ModelOutput": ("name", "data_type", "dims", "label_filename"),
    "ModelInstanceGroup": ("kind",),
    "ModelDynamicBatching": ("default_priority_level",),
    "ModelTransactionPolicy": (),
}
_HARMLESS: Mapping[str, Sequence[str]] = {
    "ModelConfig": ("runtime", "model_warmup", "metric_tags", "response_cache", "model_metrics"),
    "ModelInput": ("format", "allow_ragged_batch"),
    "ModelInstanceGroup": (
        *("name", "count", "rate_limiter", "gpus", "secondary_devices", "profile", "passive", "host_policy"),
    ),
    "ModelOptimizationPolicy": (
        *("priority", "cuda", "execution_accelerators", "input_pinned_memory", "output_pinned_memory"),
        *("gather_kernel_buffer_threshold", "eager_batching"),
    ),
    "ModelDynamicBatching": (
        *("preferred_batch_size", "max_queue_delay_microseconds", "preserve_ordering", "priority_levels"),
        *("default_queue_policy", "priority_queue_policy"),
    ),
}
_SINGLE = ("dynamic_batching", "model_transaction_policy", "optimization", "graph")
_LOOKED_INTO = ("input", "output", "instance_group", *_SINGLE)


def unread(message: Any) -> tuple[list[str], list[str]]:
    """Names of the fields of a `ModelConfig` that would change answers and are not read, and of others not read."""
    refused: dict[str, None] = {}
    said: dict[str, None] = {}
    _look(message, "", refused, said)
    return list(refused), list(said)


def _look(message: Any, where: str, refused: dict[str, None], said: dict[str, None]) -> None:
    kind = message.DESCRIPTOR.name
    for field, value in message.ListFields():
        name = f"{where}{field.name}"
        if field.name in _LOOKED_INTO:
            for one in [value] if field.name in _SINGLE else value:
                _look(one, f"{name}.", refused, said)
        elif field.name in _HARMLESS.get(kind, ()):
            said[name] = None
        elif field.name not in _READ[kind]:
            refused[name] = None
