"""The program `insource fetch`: its settings read and checked, one run, and its last words for the pod's status."""

from __future__ import annotations

import contextlib
import signal
import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import structlog
from pydantic import ValidationError

from insource.delivery.addresses import networks
from insource.delivery.attempts import Download
from insource.delivery.connection import Reach
from insource.delivery.fetch import fetch
from insource.delivery.problems import DeliveryError
from insource.delivery.secret import access_to
from insource.env import system_env
from insource.wire.delivery import FILES_VARIABLE, WANTED_FILES, Wanted

log = structlog.get_logger("insource.delivery")
LONGEST_MESSAGE = 900
"""Characters that still fit into a condition with what is put around them."""


@dataclass(frozen=True)
class FetchSettings:
    """The program's flags."""

    into: Path
    limit_s: float
    message_file: Path | None = None
    """Where the reason of a failure goes: the container's termination message."""
    allow: tuple[str, ...] = ()
    credentials_dir: Path | None = None
    credentials_secret: str = ""
    ca_dir: Path | None = None


def run_fetch(settings: FetchSettings, environment: Mapping[str, str]) -> int:
    """Fetch everything. The exit status: 0, or 1 with the reason in the log and in the message file."""
    _end_by_signals()
    try:
        wanted = _wanted(environment)
        fetch(wanted, _download(wanted, settings, environment))
    except DeliveryError as error:
        log.error("not_fetched", problem=str(error))
        if settings.message_file is not None:
            with contextlib.suppress(OSError):
                settings.message_file.write_text(str(error)[:LONGEST_MESSAGE])
        return 1
    return 0


def _wanted(environment: Mapping[str, str]) -> tuple[Wanted, ...]:
    try:
        return WANTED_FILES.validate_json(environment.get(FILES_VARIABLE, ""))
    except ValidationError as error:
        raise DeliveryError(f"{FILES_VARIABLE} cannot be read: {error.errors()[0]['msg']}") from None


def _download(wanted: Sequence[Wanted], settings: FetchSettings, environment: Mapping[str, str]) -> Download:
    proxy = environment.get("HTTPS_PROXY") or environment.get("https_proxy") or ""
    no_proxy = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if proxy and (urlsplit(proxy).scheme not in ("http", "https") or not urlsplit(proxy).hostname):
        raise DeliveryError(
            "the proxy for downloads must be http://[user:password@]host:port, or https:// (--download-proxy)"
        )
    try:
        allowed = networks(settings.allow)
    except ValueError as error:
        raise DeliveryError(f"--allow: {error}") from None
    env = system_env()
    reach = Reach(tls=_trust(settings.ca_dir), allowed=allowed, proxy=proxy, no_proxy=tuple(no_proxy.split(",")))
    return Download(
        into=settings.into,
        reach=reach,
        credentials=access_to(wanted, settings.credentials_dir, settings.credentials_secret, env.clock, reach),
        env=env,
        pause=_pause,
        limit_s=settings.limit_s,
    )


def _trust(ca_dir: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in _certificates(ca_dir):
        try:
            context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError) as error:
            raise DeliveryError(
                f'the ConfigMap of --download-ca-config-map: key "{file.name}" is no PEM certificate: {error}'
            ) from None
    return context


def _certificates(folder: Path | None) -> Sequence[Path]:
    """Every key of the ConfigMap; none if it is not there."""
    if folder is None or not folder.is_dir():
        return ()
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".."))


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _end_by_signals() -> None:
    """The first process of a container has no default for SIGTERM: it would go on downloading until it is killed."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
