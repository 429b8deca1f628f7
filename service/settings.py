"""The settings of `dit serve`: flags, then DIT_* variables, then defaults; read once, frozen, checked.

An unknown DIT_* name, a wrong value or a broken relation raises SettingsError with a sentence.
Knows no command line beyond the list of flags that it makes from its own fields.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from dit_serve.service.errors import SettingsError

PREFIX = "DIT_"
READ_ELSEWHERE = frozenset({"DIT_CACHE"})  # models/checkpoints/cache.py: where converted checkpoints are kept
SECRET = frozenset({"api_keys"})  # no flag, because everybody can read a command line, and never shown
MAX_IMAGES_PER_REQUEST = 16
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_API_KEY = re.compile(r"[!-+\--~]{8,256}")  # visible ASCII without the comma


class Settings(BaseModel):
    """Everything that an operator may choose.

    Each field is a flag (--max-batch-sequences) and a variable (DIT_MAX_BATCH_SEQUENCES); secrets are variables alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(
        default=("digits-64", "digits-128"),
        min_length=1,
        description="Checkpoints to serve, comma-separated: demo names, folders, files or hub ids; one per resolution.",
    )
    vae: str | None = Field(
        default=None, description="Folder or hub id of the autoencoder, for checkpoints that bring none."
    )
    devices: tuple[str, ...] = Field(
        default=(),
        description="Devices, comma-separated, one worker process each: cuda:0,cuda:1 or cpu; "
        "default the best card present, else one worker a core for small models, else the processor as a whole.",
    )
    dtype: str | None = Field(
        default=None,
        description="float32, bfloat16 or float16; default the fastest that the device computes in by itself.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on, 0 to 65535; 0 is any free one.")
    metrics: bool = Field(default=True, description="Answer Prometheus: GET /metrics on a port of its own.")
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on for Prometheus; no key is asked for."
    )
    metrics_port: int = Field(
        default=9464, ge=0, le=65535, description="TCP port for Prometheus, 0 to 65535; 0 is any free one."
    )
    max_batch_sequences: int = Field(
        default=16, ge=2, le=4096,
        description="Most rows of one forward pass, 2 to 4096; a guided image takes two, an unguided one.",
    )
    max_queue_sequences: int = Field(
        default=512, ge=2 * MAX_IMAGES_PER_REQUEST, le=1_000_000,
        description="Most rows accepted and not finished, running ones included, 32 to 1000000; above it 429.",
    )
    fill_across_guidance: bool = Field(
        default=True, description="Fill a batch's free places with images of other guidance scales."
    )
    batch_invariant: bool = Field(
        default=True,
        description="Compute in fixed shapes, so that an image's bytes do not depend on what else is in its batch.",
    )
    modulation_cache_bytes: int = Field(
        default=1 << 30, ge=0, le=1 << 40,
        description="Bytes of a model's device memory, 0 to 2^40, for what conditions the images under way; "
        "what does not fit is computed in each step. A card sets them aside at the start.",
    )
    step_timeout_seconds: float = Field(
        default=20.0, ge=0.1, le=3600, allow_inf_nan=False,
        description="Seconds, 0.1 to 3600, after which a denoising step is a hang, and the worker is replaced; "
        "at least 20 times the measured step time in any case.",
    )
    silence_seconds: float = Field(
        default=1.5, ge=0.1, le=3600, allow_inf_nan=False,
        description="Seconds, 0.1 to 3600, without a sign of life after which a worker process is replaced; "
        "at least 4 times the measured step time in any case.",
    )
    standby: bool = Field(
        default=True,
        description="Keep a process started ahead, without a model, so that a dead worker is replaced within a second.",
    )
    drain_seconds: float = Field(
        default=60.0, ge=0, le=3600, allow_inf_nan=False,
        description="Seconds, 0 to 3600, that admitted work may take after SIGTERM.",
    )
    header_seconds: float = Field(
        default=5.0, gt=0, le=600, allow_inf_nan=False,
        description="Seconds, up to 600, that a client may take to send a request's headers.",
    )
    body_seconds: float = Field(
        default=10.0, gt=0, le=600, allow_inf_nan=False,
        description="Seconds, up to 600, that a client may take to send a request's body.",
    )
    write_seconds: float = Field(
        default=30.0, gt=0, le=3600, allow_inf_nan=False,
        description="Seconds, up to 3600, that a client may leave an answer unread.",
    )
    max_header_bytes: int = Field(
        default=32 << 10, ge=1 << 10, le=1 << 20, description="Most bytes of a request's headers, 1024 to 1048576."
    )
    max_body_bytes: int = Field(
        default=16 << 10, ge=1 << 10, le=1 << 20, description="Most bytes of a request's body, 1024 to 1048576."
    )
    api_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description="Keys, comma-separated; all requests but for probes and /docs need one. Without keys all is open.",
    )
    api_keys_file: str | None = Field(
        default=None, description="File with more such keys, one per line; lines that start with # are none."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins whose web pages may ask from a browser, comma-separated: https://example.org; * is all.",
    )
    log_level: str = Field(
        default="info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error."
    )

    @field_validator("models", "devices", "api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(is_api_key(key.get_secret_value()) for key in keys):
            raise ValueError("a key is 8 to 256 visible ASCII characters")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("an origin is scheme://host or scheme://host:port in lower case, without a path; or *")
        return origins

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.max_queue_sequences < self.max_batch_sequences:
            raise ValueError(
                f"max_queue_sequences ({self.max_queue_sequences}) must be at least "
                f"max_batch_sequences ({self.max_batch_sequences}), or a batch could never be full"
            )
        if self.metrics and self.port == self.metrics_port != 0:
            raise ValueError(f"port and metrics_port are both {self.port}; metrics have a port of their own")
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models names one twice: {', '.join(self.models)}")
        if len({device.partition(":")[0] for device in self.devices}) > 1:
            raise ValueError(f"devices must be of one kind, or the same request would give other bytes on another: "
                             f"{', '.join(self.devices)}")  # fmt: skip
        return self


def is_api_key(text: str) -> bool:
    """Whether a text may be an API key: 8 to 256 visible ASCII characters, no comma."""
    return _API_KEY.fullmatch(text) is not None


def read_settings(environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings from flags over variables over defaults; an empty variable counts as absent.

    Args:
        environment: all variables of the process.
        flags: texts by field name, those given on the command line.

    Raises:
        SettingsError: with one sentence per fault.
    """
    _refuse_unknown(environment)
    variables = {name: environment.get(PREFIX + name.upper(), "") for name in Settings.model_fields}
    given = {name: text for name, text in variables.items() if text} | dict(flags)
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(fault, flags) for fault in error.errors(include_url=False))) from None


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds one flag per setting; a flag that is not given leaves no trace in the namespace."""
    for name, field in Settings.model_fields.items():
        if name in SECRET:
            continue
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar=name.upper(),
            default=argparse.SUPPRESS,
            help=f"{field.description} [{PREFIX}{name.upper()}; default {default}]".replace("%", "%%"),
        )


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | READ_ELSEWHERE
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
            raise SettingsError(f"{name} is no setting{hint}")


def _sentence(fault: Any, flags: Mapping[str, Any]) -> str:
    """One fault in words, with the flag or variable that it came by."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not fault["loc"]:
        return message
    name = str(fault["loc"][0])
    source = f"--{name.replace('_', '-')}" if name in flags else PREFIX + name.upper()
    sent = "***" if name in SECRET else repr(fault["input"])
    return f"{source} is {sent}: {message[0].lower()}{message[1:]}"
