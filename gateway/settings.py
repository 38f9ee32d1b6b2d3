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

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from gateway.fairness.policies import PolicyName
from gateway.fairness.shares import SharesName
from gateway.fairness.virtual_clock import MAX_WEIGHT
from gateway.identity.classes import MAX_CLASSES
from gateway.identity.names import is_safe_tenant
from gateway.identity.tenants import TENANT_NAME

Seconds = Annotated[float, Field(gt=0, le=86_400 * 30)]

# A str and no SecretStr: workers get their settings as JSON, in which that is stars.
OperatorToken = Annotated[str, Field(pattern=r"^[!-~]{16,256}\z")]


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(Group):
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    workers: int = Field(
        1, ge=1, le=64, description="Processes that share the address; more than one share their state in Redis."
    )
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="A larger request body is answered 413.")
    stream_comment_interval_s: Seconds | None = Field(
        None, description="A stream that waits for its turn gets an SSE comment this often. Default: none."
    )
    drain_timeout_s: Seconds = Field(30.0, description="On a stop signal: how long calls may go on.")
    operator_token: OperatorToken | None = Field(
        None, repr=False, description="Who shows it sees every tenant's applications (`/console`, `justitia top`)."
    )


class EngineSettings(Group):
    urls: Annotated[tuple[str, ...], NoDecode] = Field(
        (), repr=False, description="Base URLs of the vLLM servers, by commas."
    )
    token: str | None = Field(
        None, repr=False, description="Token of the patch's own routes (JUSTITIA_ENGINE_TOKEN there)."
    )
    api_key: str | None = Field(None, repr=False, description="Key sent to the engines instead of the client's.")
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
                raise ValueError("not an http(s) URL")
        if len(set(urls)) < len(urls):
            raise ValueError("an engine is named twice")
        return tuple(url.rstrip("/").removesuffix("/v1") for url in urls)


class StoreSettings(Group):
    redis_url: str | None = Field(
        None, repr=False, description="Shared state; without it the state lives in this process."
    )
    prefix: str = Field("justitia", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Hash tag of every key.")
    timeout_s: Seconds = Field(0.5, description="One store operation.")
    application_ttl_s: int = Field(86_400, ge=60, description="Time to live of an application nobody closes.")
    clock_ttl_s: int = Field(7 * 86_400, ge=60, description="Time to live of the clock when nothing happens.")
    link_ttl_s: int = Field(
        3600, ge=60, description="Time to live in Redis of what a call leaves for later ones to be grouped by."
    )
    max_links: int = Field(200_000, ge=100, description="The same in each gateway's memory: how many at most.")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: str | None) -> str | None:
        if url is not None and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("a Redis URL begins with redis://, rediss:// or unix://")
        return url


class SchedulingSettings(Group):
    policy: PolicyName = Field("justitia", description="Order of calls.")
    shares: SharesName = Field(
        "application",
        description="Who has a share: each application, or each tenant, however many applications it hands in.",
    )
    dispatch_margin_calls: int = Field(
        4, ge=1, le=1024, description="Calls of this gateway that wait inside an engine whose memory is full."
    )
    max_queued_calls: int = Field(10_000, ge=1, description="More waiting calls than this are answered queue_full.")
    max_queued_bytes: int = Field(512 * 2**20, ge=1024, description="The same in bytes of request bodies.")
    max_memory_bytes: int | None = Field(
        None, ge=64 * 2**20, description="Memory of the process above which calls are shed and refused; Linux only."
    )
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


class _Unshown:
    """Stands in an error's line for what may hold a key."""

    def __init__(self, why: str = "") -> None:
        self.why = why

    def __repr__(self) -> str:
        return "(not shown)"


def _checked_keys(value: object) -> object:
    """Each complaint is ours: pydantic's would name the key at fault."""
    if not isinstance(value, Mapping):
        return _Unshown('must be tenants by API key, such as {"KEY": "alice"}')
    if not all(isinstance(key, str) and key == key.strip(" \t") != "" for key in value):
        return _Unshown("an API key is empty, or begins or ends with a space")
    for tenant in value.values():
        if not isinstance(tenant, str) or not is_safe_tenant(tenant) or tenant.startswith("sk-"):
            return _Unshown(f"not a tenant's name ({TENANT_NAME}), or a key in its place")
    return value


def _refused(value: object) -> object:
    if isinstance(value, _Unshown):
        raise ValueError(value.why)
    return value


ClassName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]


class TenantSettings(Group):
    # Of two validators the later is asked first: what the other refuses, and an error shows, is no key any more.
    api_keys: Annotated[dict[str, str], BeforeValidator(_refused), BeforeValidator(_checked_keys)] = Field(
        default_factory=dict, repr=False, description="Tenant by API key, beside the keys of `justitia keys`."
    )
    stored_keys: bool = Field(True, description="Let in who has a key of `justitia keys`; false: only `api_keys`.")
    keys_file: Path | None = Field(
        None, description="Where those keys are. Default: in Redis if there is one, else in the user's state folder."
    )
    keys_poll_interval_s: Seconds = Field(2.0, description="Between two looks for created and revoked keys.")
    open: bool | None = Field(
        None,
        description="While there are no keys at all, let everybody in. Default: only on a loopback address.",
    )
    classes: dict[ClassName, Annotated[int, Field(ge=1, le=MAX_WEIGHT)]] = Field(
        default={"low": 1, "standard": 1000, "high": 1001},
        min_length=1,
        max_length=MAX_CLASSES,
        description="Classes of tenants in metrics, each with the least weight (thousandths) of its tenants.",
    )

    @model_validator(mode="before")
    @classmethod
    def _without_keys_in_errors(cls, value: object) -> object:
        """A misspelt setting's value is not shown either: it may be that of `api_keys`."""
        if not isinstance(value, Mapping):
            return value if isinstance(value, cls) else _Unshown()
        return {name: held if name in cls.model_fields else _Unshown() for name, held in value.items()}

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: dict[str, int]) -> dict[str, int]:
        if len(set(classes.values())) < len(classes):
            raise ValueError("two classes begin at the same weight")
        return classes

    def keys_file_in_use(self) -> Path | None:
        """Where there is no Redis. None where no folder is the user's own: in one that anybody can write to, anybody
        could make keys."""
        if self.keys_file is not None:
            return self.keys_file
        state = os.environ.get("XDG_STATE_HOME")
        try:
            return (Path(state) if state else Path.home() / ".local" / "state") / "justitia" / "keys.json"
        except RuntimeError:
            return None


class TracingSettings(Group):
    endpoint: str | None = Field(
        None,
        repr=False,
        description="OpenTelemetry collector that gets spans (OTLP over HTTP). Default: OTEL_EXPORTER_OTLP_ENDPOINT.",
    )
    records_prompts: bool = Field(False, description="Put the first 4,096 characters of a prompt into its span.")

    @field_validator("endpoint")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
            raise ValueError("not an http(s) URL")
        return url


class LogSettings(Group):
    format: Literal["text", "json"] = Field("text", description="Lines on stderr, or JSON objects, one a line.")
    calls: Literal["all", "failed", "none"] = Field(
        "failed", description="Which calls get a line of their own; failed: refused and retried ones, too."
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
    tracing: TracingSettings = TracingSettings()
    logs: LogSettings = LogSettings()


ENGINE_SIDE_VARIABLES = frozenset({"JUSTITIA_ENGINE_TOKEN", "JUSTITIA_ENGINE_TRACE"})
"""Read by the engine's patch, not by the gateway."""

CLIENT_SIDE_VARIABLES = frozenset({"JUSTITIA_KEY"})
"""Read by `justitia top`."""


def _may_be_secret(name: str, value: object) -> bool:
    """Also where it is misspelt, and where a URL names a user."""
    return any(word in name for word in ("token", "key", "secret", "password", "redis")) or "@" in str(value)


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
        value = "(not shown)" if _may_be_secret(name, first["input"]) else repr(first["input"])
        raise ImpossibleSetting(f"setting {name} = {value}: {first['msg']}") from error
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
    for name in environment:
        if not name.upper().startswith("JUSTITIA_") or name.upper() in ENGINE_SIDE_VARIABLES | CLIENT_SIDE_VARIABLES:
            continue
        group = name.upper().removeprefix("JUSTITIA_").split("__")[0].lower()
        if group not in Settings.model_fields:
            raise ImpossibleSetting(f"setting {name}: there is no such setting")  # its value may be a secret
