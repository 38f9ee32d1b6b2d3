"""Everything that can be set, in one frozen model.

Flags win over the environment (`JUSTITIA_…`, `__` between levels), the environment over the file (TOML).
"""

import os
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from gateway.fairness.policies import PolicyName

Seconds = Annotated[float, Field(gt=0, le=86_400 * 30)]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="A larger request body is answered 413.")
    drain_timeout_s: Seconds = Field(30.0, description="On a stop signal: how long calls may go on.")


class EngineSettings(Group):
    urls: Annotated[tuple[str, ...], NoDecode] = Field((), description="Base URLs of the vLLM servers, by commas.")
    token: str | None = Field(None, description="Token of the patch's own routes (JUSTITIA_ENGINE_TOKEN there).")
    api_key: str | None = Field(None, description="Key sent to the engines instead of the client's.")
    connect_timeout_s: Seconds = Field(5.0, description="Opening a connection to an engine.")
    silence_timeout_s: Seconds = Field(600.0, description="Longest silence of an engine within one answer.")
    state_timeout_s: Seconds = Field(2.0, description="One reading of an engine's state.")
    poll_interval_s: Seconds = Field(0.05, description="Between two readings while calls are in flight.")
    idle_poll_interval_s: Seconds = Field(1.0, description="Between two readings otherwise.")
    unreachable_grace_s: Seconds = Field(
        15.0, description="How long calls wait for an engine that is down before they end in engine_unreachable."
    )

    @field_validator("urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("urls")
    @classmethod
    def _are_urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is not an http(s) URL")
        if len(set(urls)) < len(urls):
            raise ValueError("an engine is named twice")
        return tuple(url.rstrip("/").removesuffix("/v1") for url in urls)


class StoreSettings(Group):
    redis_url: str | None = Field(None, description="Shared state; without it the state lives in this process.")
    prefix: str = Field("justitia", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Hash tag of every key.")
    timeout_s: Seconds = Field(0.5, description="One store operation.")
    application_ttl_s: int = Field(86_400, ge=60, description="Time to live of an application nobody closes.")
    clock_ttl_s: int = Field(7 * 86_400, ge=60, description="Time to live of the clock when nothing happens.")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
        return url


class SchedulingSettings(Group):
    policy: PolicyName = Field("justitia", description="Order of calls.")
    dispatch_margin_calls: int = Field(
        4, ge=1, le=1024, description="Calls of this gateway that wait inside an engine whose memory is full."
    )
    max_queued_calls: int = Field(10_000, ge=1, description="More waiting calls than this are answered queue_full.")
    max_queued_bytes: int = Field(512 * 2**20, ge=1024, description="The same in bytes of request bodies.")
    queue_timeout_s: Seconds = Field(600.0, description="Longest wait in the queue.")


class ApplicationSettings(Group):
    idle_close_s: Seconds = Field(60.0, description="An application without calls for this long is closed.")
    sweep_interval_s: Seconds = Field(1.0, description="Between two sweeps for idle applications.")
    default_cost: float = Field(
        1e6, gt=0, le=1e15, description="Predicted cost (token·iterations) before anything was learnt."
    )
    max_listed: int = Field(1000, ge=1, le=100_000, description="Applications a listing shows at most.")


class LearningSettings(Group):
    predictor: Literal["trained", "mean"] = Field(
        "trained",
        description="What predicts costs: what was learnt, once there is such, or a kind's running mean.",
    )
    folder: Path | None = Field(
        None, description="Record and predictors of a gateway without Redis. Default: the user's state folder."
    )
    max_recorded: int = Field(20_000, ge=100, le=1_000_000, description="Closed applications that are remembered.")
    keeps_words: bool = Field(
        False, description="Remember hashes of a first prompt's words and learn from them; words can be guessed back."
    )
    model: Literal["kernel", "network"] = Field(
        "kernel", description="What is trained for first estimates; a network needs torch for that."
    )
    trains: bool = Field(True, description="Train beside this gateway, in a process of its own.")
    training_interval_s: Seconds = Field(3600.0, description="Between two trainings, after the first few.")
    poll_interval_s: Seconds = Field(10.0, description="Between two looks for a newer predictor.")

    def folder_in_use(self) -> Path:
        if self.folder is not None:
            return self.folder
        state = os.environ.get("XDG_STATE_HOME")
        if state:
            return Path(state) / "justitia"
        try:
            return Path.home() / ".local" / "state" / "justitia"
        except RuntimeError:  # a container's user without a home
            return Path(tempfile.gettempdir()) / "justitia"


class TenantSettings(Group):
    api_keys: dict[str, str] = Field(
        default_factory=dict, description="Tenant by API key. Empty: open mode, every distinct key is a tenant."
    )


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="JUSTITIA_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    server: ServerSettings = ServerSettings()
    engines: EngineSettings = EngineSettings()
    store: StoreSettings = StoreSettings()
    scheduling: SchedulingSettings = SchedulingSettings()
    applications: ApplicationSettings = ApplicationSettings()
    learning: LearningSettings = LearningSettings()
    tenants: TenantSettings = TenantSettings()


ENGINE_SIDE_VARIABLES = frozenset({"JUSTITIA_ENGINE_TOKEN", "JUSTITIA_ENGINE_TRACE"})
"""Read by the engine's patch, not by the gateway."""


class ImpossibleSetting(ValueError):
    """One line that names the setting and its value."""


def load_settings(
    environment: Mapping[str, str], file: Path | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Flags over environment over file. Raises ImpossibleSetting for what is unknown or cannot be."""
    _refuse_unknown_variables(environment)
    try:
        return _read(file, flags or {})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise ImpossibleSetting(f"setting {name} = {first['input']!r}: {first['msg']}") from error
    except (OSError, tomllib.TOMLDecodeError, SettingsError) as error:
        raise ImpossibleSetting(f"settings: {error}") from error


def _read(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    class WithFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if file is None:
                return init_settings, env_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    if file is not None and not file.is_file():
        raise FileNotFoundError(f"no such file: {file}")
    return WithFile(**flags)


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.upper().startswith("JUSTITIA_") or name.upper() in ENGINE_SIDE_VARIABLES:
            continue
        group = name.upper().removeprefix("JUSTITIA_").split("__")[0].lower()
        if group not in Settings.model_fields:
            raise ImpossibleSetting(f"setting {name} = {value!r}: there is no such setting")
