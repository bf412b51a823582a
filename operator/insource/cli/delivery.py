"""Flags of the operator that say how models are downloaded; each may be given by the environment, too."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from ipaddress import ip_network
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from insource.domain.snapshot import DeliverySettings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Range(click.ParamType[str]):
    """An address range, `10.0.0.0/8`."""

    name = "cidr"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is written, or fail with what is wrong."""
        try:
            ip_network(str(value))
        except ValueError as error:
            self.fail(f"{error}: write it like 10.20.0.0/16", param, ctx)
        return str(value)


class Endpoint(click.ParamType[str]):
    """A URL of one of some schemes. What is refused is not repeated: it may hold a password."""

    name = "url"

    def __init__(self, *schemes: str) -> None:
        self._schemes = schemes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is written, or fail with what is wrong."""
        if not _is_readable(str(value)):
            self.fail("a URL with a host, and a port from 1 to 65535 if it has one, is needed", param, ctx)
        parts = urlsplit(str(value))
        if value and (parts.scheme not in self._schemes or not parts.hostname):
            begins = " or ".join(f"{scheme}://" for scheme in self._schemes)
            self.fail(f"a URL that begins with {begins} is needed", param, ctx)
        return str(value)


_OPTIONS = (
    click.option(
        "--delivery-cidr",
        "delivery_cidrs",
        type=Range(),
        multiple=True,
        envvar="INSOURCE_DELIVERY_CIDRS",
        help="Where models may come from: beside public addresses downloads may ask these, and network policies "
        "open only these to serving pods; may be repeated.",
    ),
    click.option(
        "--hf-endpoint",
        type=Endpoint("https"),
        default=DeliverySettings().hf_endpoint,
        show_default=True,
        envvar="INSOURCE_HF_ENDPOINT",
        help="Where hf:// sources are: Hugging Face or a mirror.",
    ),
    click.option(
        "--download-proxy",
        type=Endpoint("http", "https"),
        default="",
        envvar="INSOURCE_DOWNLOAD_PROXY",
        help="Proxy for downloads, http[s]://[user:password@]host:port; users with access to pods can read it.",
    ),
    click.option(
        "--download-no-proxy",
        multiple=True,
        envvar="INSOURCE_DOWNLOAD_NO_PROXY",
        help="Host, domain or range that is asked without the proxy; may be repeated.",
    ),
    click.option(
        "--download-ca-config-map",
        default="",
        envvar="INSOURCE_DOWNLOAD_CA_CONFIG_MAP",
        help="ConfigMap in a ModelDeployment's namespace whose certificates downloads trust, too.",
    ),
    click.option(
        "--network-policies/--no-network-policies",
        default=False,
        show_default=True,
        envvar="INSOURCE_NETWORK_POLICIES",
        help="Apply a NetworkPolicy for serving pods and one for vendor adapters in each namespace.",
    ),
)


def _is_readable(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def delivery_options(command: Decorated) -> Decorated:
    """Gives a command the flags."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def delivery_settings(flags: MutableMapping[str, Any]) -> DeliverySettings:
    """Takes the flags out of `flags`."""
    return DeliverySettings(
        cidrs=flags.pop("delivery_cidrs"),
        hf_endpoint=flags.pop("hf_endpoint"),
        proxy=flags.pop("download_proxy"),
        no_proxy=flags.pop("download_no_proxy"),
        ca_config_map=flags.pop("download_ca_config_map"),
        network_policies=flags.pop("network_policies"),
    )
