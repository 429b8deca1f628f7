"""The settings of `dit serve`: flags, then DIT_* variables, then defaults; read once, frozen, checked.

What several lines of code need together is a group, a dataclass (`HttpLimits`, `ModelOptions`): each of its fields is
a setting like any other, and whoever needs them takes the group as one value.

An unknown DIT_* name, a wrong value or a broken relation raises SettingsError with a sentence.
Knows no command line beyond the list of flags that it makes from its own fields.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from dit_serve.models.options import MAX_BATCH_SEQUENCES, ModelOptions, split_name
from dit_serve.service.environment import PREFIX, is_quoted, own_variables
from dit_serve.service.errors import SettingsError
from dit_serve.service.forms import MAX_PATH_PREFIX, is_api_key, is_origin, is_path_prefix
from dit_serve.service.http_limits import HttpLimits

READ_ELSEWHERE = frozenset({"DIT_CACHE"})  # models/checkpoints/cache.py: where converted checkpoints are kept
SECRET = frozenset({"api_keys"})  # no flag, because everybody can read a command line, and never shown
NO_SETTING = frozenset({"device"})  # of a group: each worker has its own, of `devices`
MAX_IMAGES_PER_REQUEST = 16
MAX_SHOWN = 80  # characters of a wrong value


class Settings(BaseModel):
    """Everything that an operator may choose.

    Each field, and each field of a group, is a flag (--max-batch-sequences) and a variable (DIT_MAX_BATCH_SEQUENCES);
    secrets are variables alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[str, ...] = Field(
        default=("digits-64", "digits-128", "fashion-64"),
        min_length=1,
        description="Checkpoints to serve, comma-separated: demo names, folders, files or hub ids, each as it is or as "
        "NAME=CHECKPOINT, with the name that requests call it by; the first is the default one.",
    )
    options: ModelOptions = ModelOptions()
    model_aliases: tuple[str, ...] = Field(
        default=(),
        description="Other names of models for clients that choose theirs themselves, comma-separated, NAME=MODEL: "
        "gpt-image-1=facebook/DiT-XL-2-256.",
    )
    prompts: Literal["exact", "phrase"] = Field(
        default="exact",
        description="How a prompt of OpenAI's or Hugging Face's clients names a class: exact, it is one of its names; "
        "phrase, or the longest class name in it, which may be another than is meant.",
    )
    devices: tuple[str, ...] = Field(
        default=(),
        description="Devices, comma-separated, one worker process each: cuda:0,cuda:1 or cpu; "
        "default the best card present, else one worker a core for small models, else the processor as a whole.",
    )
    host: str = Field(
        default="127.0.0.1", min_length=1,
        description="Address to listen on: 0.0.0.0 is all of IPv4, :: all of IPv6 and IPv4, a name all that it has.",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on, 0 to 65535; 0 is any free one.")
    root_path: str = Field(
        default="", max_length=MAX_PATH_PREFIX,
        description="Path under which a proxy shows the service, such as /images; default what the proxy says in "
        "X-Forwarded-Prefix.",
    )
    metrics: bool = Field(default=True, description="Answer Prometheus: GET /metrics on a port of its own.")
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on for Prometheus; no key is asked for."
    )
    metrics_port: int = Field(
        default=9464, ge=0, le=65535, description="TCP port for Prometheus, 0 to 65535; 0 is any free one."
    )
    max_batch_sequences: int = Field(
        default=16, ge=2, le=MAX_BATCH_SEQUENCES,
        description=f"Most places of one denoising step, 2 to {MAX_BATCH_SEQUENCES}: a guided image takes two, one of "
        "cfg 1 takes one. A card with memory for fewer takes fewer.",
    )
    max_queue_sequences: int = Field(
        default=512, ge=2 * MAX_IMAGES_PER_REQUEST, le=1_000_000,
        description="Most places of all images that are accepted and not finished, those under way included, "
        "32 to 1000000; above it 429.",
    )
    fill_across_guidance: bool = Field(
        default=True, description="Fill a batch's free places with images of other guidance scales."
    )
    step_timeout_seconds: float = Field(
        default=20.0, ge=0.1, le=3600, allow_inf_nan=False,
        description="Seconds, 0.1 to 3600, after which a denoising step is a hang, and the worker is replaced; "
        "at least 20 times the usual step time of late in any case.",
    )
    silence_seconds: float = Field(
        default=1.5, ge=0.1, le=3600, allow_inf_nan=False,
        description="Seconds, 0.1 to 3600, without a sign of life after which a worker process is replaced; "
        "at least 4 times the time of the slower steps of late in any case.",
    )
    standby: bool = Field(
        default=True,
        description="Keep a process started ahead, without a model, so that a dead worker is replaced within a second.",
    )
    drain_seconds: float = Field(
        default=60.0, ge=0, le=3600, allow_inf_nan=False,
        description="Seconds, 0 to 3600, that admitted work may take after SIGTERM.",
    )
    limits: HttpLimits = HttpLimits()
    api_keys: tuple[SecretStr, ...] = Field(
        default=(),
        description="Keys, comma-separated; all requests but for probes, /docs and the page need one. Without keys all "
        "is open.",
    )
    api_keys_file: str | None = Field(
        default=None, description="File with more such keys, one per line; lines that start with # are none."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Origins whose web pages may ask from a browser, comma-separated: https://example.org; * is all.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning (or warn) or error, in capitals too."
    )

    @field_validator("models", "model_aliases", "devices", "api_keys", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        name = value.strip().lower() if isinstance(value, str) else value
        return "warning" if name == "warn" else name

    @field_validator("model_aliases")
    @classmethod
    def _are_aliases(cls, aliases: tuple[str, ...]) -> tuple[str, ...]:
        if not all(alias and name for alias, _, name in (each.partition("=") for each in aliases)):
            raise ValueError("an alias is NAME=MODEL, such as gpt-image-1=digits-64")
        return aliases

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if not all(is_api_key(key.get_secret_value()) for key in keys):
            raise ValueError("a key is 8 to 256 visible ASCII characters")
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_origin, origins)):
            raise ValueError("an origin is scheme://host or scheme://host:port in lower case, without a path; or *")
        return origins

    @field_validator("root_path")
    @classmethod
    def _is_prefix(cls, path: str) -> str:
        path = path.rstrip("/")
        if path and not is_path_prefix(path):
            raise ValueError("a path is / and letters, digits, . _ ~ or -, such as /images, and /tools/images")
        return path

    @property
    def aliases(self) -> dict[str, str]:
        """The names of models by their aliases."""
        return {alias: name for alias, _, name in (each.partition("=") for each in self.model_aliases)}

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.max_queue_sequences < self.max_batch_sequences:
            raise ValueError(
                f"max_queue_sequences ({self.max_queue_sequences}) must be at least "
                f"max_batch_sequences ({self.max_batch_sequences}), or a step could never be full; both count places, "
                "of which a guided image takes two"
            )
        if self.metrics and self.port == self.metrics_port != 0:
            raise ValueError(f"port and metrics_port are both {self.port}; metrics have a port of their own")
        names = [given or path for given, path in map(split_name, self.models)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"models has two that are called {twice}: give one another name, NAME=CHECKPOINT")
        if len(self.aliases) < len(self.model_aliases):
            raise ValueError(f"model_aliases gives one name twice: {', '.join(self.model_aliases)}")
        if len({device.partition(":")[0] for device in self.devices}) > 1:
            listed = ", ".join(self.devices)
            raise ValueError(f"devices must be of one kind, or the same request would give other bytes: {listed}")
        return self


def setting_fields() -> dict[str, FieldInfo]:
    """Every setting by its name, with its type, default, bounds and description."""
    return {name: field for _, fields in _groups() for name, field in fields.items()}


def read_settings(environment: Mapping[str, str], flags: Mapping[str, Any]) -> Settings:
    """The settings from flags over variables over defaults; an empty variable counts as absent.

    Args:
        environment: all variables of the process; those of Kubernetes and Docker (`environment.injected`) do not count.
        flags: by field name, those given on the command line: texts, and `checkpoints`, which stands for `models`.

    Raises:
        SettingsError: with one sentence per fault.
    """
    own = own_variables(environment, READ_ELSEWHERE.union(map(variable, setting_fields())))
    flags = dict(flags)
    if checkpoints := flags.pop("checkpoints", ()):
        if "models" in flags:
            raise SettingsError("models are given both as arguments and by --models: choose one way")
        flags["models"] = tuple(checkpoints)
    variables = {name: own[variable(name)] for name in setting_fields() if name not in flags and variable(name) in own}
    if quoted := [variable(name) for name, text in variables.items() if is_quoted(text)]:
        raise SettingsError(f"{quoted[0]} has quotation marks around its value, which are part of it: leave them out")
    given = variables | flags
    try:
        return Settings.model_validate(_grouped(given))
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(fault, flags) for fault in error.errors(include_url=False))) from None


def variable(name: str) -> str:
    """The variable of a setting."""
    return PREFIX + name.upper()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the checkpoints and one flag per setting; what is not given leaves no trace in the namespace."""
    parser.add_argument(
        "checkpoints", nargs="*", metavar="CHECKPOINT", default=argparse.SUPPRESS, help="in the place of --models"
    )
    for name, field in setting_fields().items():
        if name in SECRET:
            continue
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            metavar=name.upper(),
            default=argparse.SUPPRESS,
            help=f"{field.description} [{variable(name)}; default {default}]".replace("%", "%%"),
        )


def _groups() -> Iterator[tuple[str, dict[str, FieldInfo]]]:
    """Every field of Settings in its order: ("", the field alone), or its own name and the settings of a group."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and dataclasses.is_dataclass(field.annotation):
            yield name, dict(_group_fields(field.annotation))
        else:
            yield "", {name: field}


def _group_fields(group: type[Any]) -> Iterator[tuple[str, FieldInfo]]:
    hints = get_type_hints(group, include_extras=True)
    for each in dataclasses.fields(group):
        if each.name not in NO_SETTING:
            field = FieldInfo.from_annotated_attribute(hints[each.name], each)
            field.description = field.description or each.metadata["help"]
            yield each.name, field


def _grouped(given: Mapping[str, Any]) -> dict[str, Any]:
    """The values as Settings takes them: those of a group together, under its name."""
    values: dict[str, Any] = {}
    rest = dict(given)
    for group, fields in _groups():
        if group:
            values[group] = {name: rest.pop(name) for name in fields if name in rest}
    return values | rest


def _sentence(fault: Any, flags: Mapping[str, Any]) -> str:
    """One fault in words, with the flag or variable that it came by."""
    message = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "bool_parsing":
        message = "must be true or false"
    name = next((str(part) for part in fault["loc"] if part in setting_fields()), "")
    if not name:
        return message
    source = f"--{name.replace('_', '-')}" if name in flags else variable(name)
    sent = "***" if name in SECRET else repr(fault["input"])
    sent = sent if len(sent) <= MAX_SHOWN else f"{sent[:MAX_SHOWN]}…"
    return f"{source} is {sent}: {message[0].lower()}{message[1:]}"
