"""What an adapter is told by its environment (docs/architecture.md, "Environment of `adapter`").

Must not read anything but the mapping it is given: no files, no network.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from insource.wire.headers import ADMIN_PORT, ROLE_PORTS
from insource.wire.vocabulary import BackendKind, Dialect, Modality, Unit

DEADLINE_PER_UNIT_S: Mapping[Unit, float] = {
    Unit.CHARACTERS: 0.05,
    Unit.IMAGES: 120.0,
    Unit.INPUT_TOKENS: 0.005,
    Unit.OUTPUT_TOKENS: 0.1,
}
"""Slower than any server is worth waiting for: 20 characters, 200 tokens read and 10 written in a second."""
_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)


class SettingsError(Exception):
    """The environment is missing a variable or holds a wrong value; the text says which and what to do."""


@dataclass(frozen=True)
class InHouseSettings:
    """The model server beside this adapter, in the same pod."""

    deployment: str
    backend: str
    revision: str
    modality: Modality
    model: str
    """CatalogModel, for the records."""
    server_url: str
    """Base URL up to and with the API prefix, such as `http://10.0.0.7:8000/v1`."""
    server_health_url: str
    request_model: str
    """The name the server wants in `model`."""
    slots: int
    request_timeout_s: float


@dataclass(frozen=True)
class VendorSettings:
    """The vendor this adapter speaks to."""

    vendor: str
    dialect: Dialect
    endpoint: str
    """OpenAI and its likes: base URL up to and with `/v1`; Azure: the host alone."""
    key_file: Path
    secret: str
    """`name/key` of the Secret that should hold the key: for messages only."""
    routes_file: Path
    requests_per_minute: int
    """0: unlimited."""
    concurrency: int
    """0: unlimited."""
    proxy_url: str = ""
    """Empty: the vendor is called directly."""
    proxy_credentials_file: Path | None = None
    """`user:password`; None: the proxy wants none."""
    proxy_secret: str = ""
    """`name/key` of the Secret that should hold them: for messages only."""
    ca_file: Path | None = None
    """PEM of the only authorities that are believed; None: the system's."""
    ca_source: str = ""
    """Where the bundle comes from: for messages only."""
    api_version: str = ""
    """Of Azure's services; empty: the dialect's own, where it has one."""


@dataclass(frozen=True)
class Patience:
    """How long the adapter waits for what, in seconds. Defaults are for production; tests shorten them."""

    deadline_floor_s: float = 30.0
    deadline_per_audio_s: float = 2.0
    """An attempt may take `floor + per_audio x audio seconds`, and never longer than the request timeout."""
    deadline_per_unit_s: Mapping[Unit, float] = field(default_factory=lambda: dict(DEADLINE_PER_UNIT_S))
    """Likewise for the other units of work."""
    look_at_files_every_s: float = 0.25
    """How soon a change of a mounted file (tokens, keys, routes) is seen at the latest."""
    probe_every_s: float = 1.0
    probe_timeout_s: float = 2.0
    stalled_after_s: float = 10.0
    """No healthy answer of the server for this long while it is connected: attempts in flight are answered 503."""
    drain_quiet_s: float = 1.0
    """While draining, how long no request must have been in flight before the listeners close."""
    reservation_s: float = 2.0
    ship_gather_s: float = 0.05
    """How long records gather before they go to the ledger together."""
    ship_backoff_s: float = 0.1
    ship_backoff_max_s: float = 10.0
    mend_every_s: float = 1.0
    """How often a disk that failed is tried again."""
    models_first_s: float = 1.0
    """How soon after the start a vendor is asked for its list of models, at the latest."""
    models_every_s: float = 600.0
    """How often it is asked again, give or take a fifth; never longer after a failure."""
    models_again_s: float = 10.0
    """After the first failure; twice as long after each further one."""
    models_timeout_s: float = 10.0
    """The whole list must be here by then."""
    lingering_s: float = 5.0
    """How long the rest of an upload is read after an early answer (at least 0.2 s, or Envoy logs a reset)."""

    def deadline_s(self, work: Mapping[Unit, int]) -> float:
        """How long the backend may take for this much work."""
        per = {**self.deadline_per_unit_s, Unit.AUDIO_MS: self.deadline_per_audio_s / 1000}
        return self.deadline_floor_s + sum(per.get(unit, 0.0) * quantity for unit, quantity in work.items())


@dataclass(frozen=True)
class Settings:
    """Everything one adapter process is told."""

    pod_ip: str
    pod_name: str
    pod_uid: str
    namespace: str
    tokens_dir: Path
    ledger_url: str
    ledger_token_file: Path
    wal_dir: Path
    drain_grace_s: float
    max_body_bytes: int
    backend: InHouseSettings | VendorSettings
    patience: Patience = field(default_factory=Patience)
    role_ports: Mapping[str, int] = field(default_factory=lambda: dict(ROLE_PORTS))
    """0 asks the kernel for a free port."""
    admin_port: int = ADMIN_PORT

    @property
    def kind(self) -> BackendKind:
        """In-house or vendor."""
        return BackendKind.IN_HOUSE if isinstance(self.backend, InHouseSettings) else BackendKind.VENDOR


def settings_from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the adapter's environment. Raises SettingsError naming the first wrong variable."""
    env = os.environ if environment is None else environment
    kind = _one_of(env, "INSOURCE_KIND", BackendKind)
    return Settings(
        pod_ip=_text(env, "POD_IP"),
        pod_name=_text(env, "POD_NAME"),
        pod_uid=_text(env, "POD_UID"),
        namespace=_text(env, "INSOURCE_NAMESPACE"),
        tokens_dir=Path(_text(env, "INSOURCE_TOKENS_DIR")),
        ledger_url=_url(env, "INSOURCE_LEDGER_URL"),
        ledger_token_file=Path(_text(env, "INSOURCE_LEDGER_TOKEN_FILE")),
        wal_dir=Path(_text(env, "INSOURCE_WAL_DIR")),
        drain_grace_s=_number(env, "INSOURCE_DRAIN_GRACE_S", float, 0),
        max_body_bytes=_number(env, "INSOURCE_MAX_BODY_BYTES", int, 1),
        backend=_in_house(env) if kind is BackendKind.IN_HOUSE else _vendor(env),
    )


def _in_house(env: Mapping[str, str]) -> InHouseSettings:
    return InHouseSettings(
        deployment=_text(env, "INSOURCE_DEPLOYMENT"),
        backend=_text(env, "INSOURCE_BACKEND"),
        revision=_text(env, "INSOURCE_REVISION"),
        modality=_one_of(env, "INSOURCE_MODALITY", Modality),
        model=_text(env, "INSOURCE_MODEL"),
        server_url=_url(env, "INSOURCE_SERVER_URL"),
        server_health_url=_url(env, "INSOURCE_SERVER_HEALTH_URL"),
        request_model=_text(env, "INSOURCE_REQUEST_MODEL"),
        slots=_number(env, "INSOURCE_SLOTS", int, 1),
        request_timeout_s=_number(env, "INSOURCE_REQUEST_TIMEOUT_S", float, 1),
    )


def _vendor(env: Mapping[str, str]) -> VendorSettings:
    dialect = _one_of(env, "INSOURCE_DIALECT", Dialect)
    if dialect is Dialect.AZURE_OPENAI:
        _text(env, "INSOURCE_API_VERSION")
    return VendorSettings(
        vendor=_text(env, "INSOURCE_VENDOR"),
        dialect=dialect,
        endpoint=_url(env, "INSOURCE_ENDPOINT"),
        key_file=Path(_text(env, "INSOURCE_VENDOR_KEY_FILE")),
        secret=_text(env, "INSOURCE_VENDOR_SECRET"),
        routes_file=Path(_text(env, "INSOURCE_ROUTES_FILE")),
        requests_per_minute=_number(env, "INSOURCE_REQUESTS_PER_MINUTE", int, 0),
        concurrency=_number(env, "INSOURCE_CONCURRENCY", int, 0),
        proxy_url=_url(env, "INSOURCE_PROXY_URL") if env.get("INSOURCE_PROXY_URL") else "",
        proxy_credentials_file=_file(env, "INSOURCE_PROXY_CREDENTIALS_FILE"),
        proxy_secret=env.get("INSOURCE_PROXY_SECRET", ""),
        ca_file=_file(env, "INSOURCE_CA_FILE"),
        ca_source=env.get("INSOURCE_CA_SOURCE", ""),
        api_version=env.get("INSOURCE_API_VERSION", ""),
    )


def _file(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]) if env.get(name) else None


def _text(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set; the operator sets it on every adapter container")
    return value


def _url(env: Mapping[str, str], name: str) -> str:
    value = _text(env, name)
    if not value.startswith(("http://", "https://")):
        raise SettingsError(f"{name} is {value!r}; it must be an http:// or https:// URL")
    return value.rstrip("/")


def _number(env: Mapping[str, str], name: str, kind: Callable[[str], _T], least: float) -> _T:
    value = _text(env, name)
    try:
        number = kind(value)
    except ValueError:
        raise SettingsError(f"{name} is {value!r}; it must be a number") from None
    if not float(value) >= least:
        raise SettingsError(f"{name} is {value!r}; it must be at least {least:g}")
    return number


def _one_of(env: Mapping[str, str], name: str, kind: type[_E]) -> _E:
    value = _text(env, name)
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(kind)
        raise SettingsError(f"{name} is {value!r}; it must be one of: {known}") from None
