"""How many replicas there are and what each may take; and what is the same for all, with its reason.

Words owned here: replica (a process of Ray Serve that holds models).
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

ONGOING: Final = 32
"""Requests that a replica has at once; Serve sends it no more, and others wait at the door, where callers take turns.

Two batches: what comes while one is run makes up the next.
"""
JOINED: Final = ONGOING // 2
"""Requests of a batch, at most; a batch of more rows than the model takes is run in parts."""
TARGET_ONGOING: Final = 8.0
"""Requests that each replica has on average, above which there are more replicas and below which fewer. Ray's: 2."""
HEALTH_PERIOD_S: Final = 2.0
"""Seconds between looks at a replica; Ray's are 10. A lost one is replaced once it was looked at."""
HEALTH_TIMEOUT_S: Final = 10.0
"""Seconds for an answer to that; Ray's are 30. Three that are missed one after the other end the replica.

Not less: a replica that loads a large model on a busy machine answers late, and is not lost.
"""
HANGS_S: Final = 60.0
"""Seconds after which a run of a model hangs; its replica is not healthy then, and Serve replaces it."""
GRACE_S: Final = 30.0
"""Seconds for what a replica has, when it is to go; Ray's are 20. As long as the door gives what is replaced."""


class Settings(BaseModel):
    """What a deployment is built with; all are fields of `args` in a Serve configuration file.

    Attributes:
        min_replicas, max_replicas: how many there are at least and at most.
        models: that a replica holds at once; for one more, the one that was asked longest ago goes.
        cpus, gpus: that Ray keeps for each replica. Without a GPU a replica sees none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(default=1, ge=1, le=1_000)
    max_replicas: int = Field(default=1, ge=1, le=1_000)
    models: int = Field(default=4, ge=1, le=1_000)
    cpus: float = Field(default=1.0, gt=0.0, le=1_000.0)
    gpus: float = Field(default=0.0, ge=0.0, le=100.0)

    @model_validator(mode="after")
    def _check(self) -> Settings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}: lower it")
        return self

    def options(self) -> dict[str, Any]:
        """Of Serve's deployment."""
        counted: dict[str, Any] = {"num_replicas": self.min_replicas}
        if self.min_replicas < self.max_replicas:
            counted = {
                "autoscaling_config": {
                    "min_replicas": self.min_replicas,
                    "max_replicas": self.max_replicas,
                    "target_ongoing_requests": TARGET_ONGOING,
                    # Ray is to have an interval of its environment some day in place of this one.
                    # A crowd lasts seconds, and Ray's half minute would answer it when it is over; what came for it
                    # stays a minute, since models are loaded anew in what comes next. Ray's: 10, 30, 30, 600.
                    "metrics_interval_s": 1.0,
                    "look_back_period_s": 5.0,
                    "upscale_delay_s": 3.0,
                    "downscale_delay_s": 60.0,
                }
            }
        return {
            **counted,
            "max_ongoing_requests": ONGOING,
            "ray_actor_options": {"num_cpus": self.cpus, "num_gpus": self.gpus},
            "health_check_period_s": HEALTH_PERIOD_S,
            "health_check_timeout_s": HEALTH_TIMEOUT_S,
            "graceful_shutdown_timeout_s": GRACE_S,
            "graceful_shutdown_wait_loop_s": 1.0,  # Ray's 2: it looks so often whether all is answered
            "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        }
