"""The operator's flags about downloads: from the command line or the environment, and refused where they are wrong."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from insource.cli.delivery import delivery_options, delivery_settings
from insource.domain.snapshot import DeliverySettings

read: list[DeliverySettings] = []


@click.command()
@delivery_options
def program(**flags: Any) -> None:
    read.append(delivery_settings(flags))
    assert flags == {}, "nothing is left for the others"


def settings(*arguments: str, **environment: str) -> DeliverySettings:
    done = CliRunner().invoke(program, arguments, env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return read[-1]


def test_without_flags_downloads_ask_public_sources_only() -> None:
    assert settings() == DeliverySettings()


def test_flags_and_environment_say_the_same() -> None:
    by_flags = settings(
        *("--delivery-cidr", "10.20.0.0/16", "--delivery-cidr", "fd00::/8", "--hf-endpoint", "https://mirror/hf"),
        *("--download-proxy", "http://me:pw@proxy:3128", "--download-no-proxy", "a", "--download-no-proxy", "b"),
        *("--download-ca-config-map", "our-ca", "--network-policies"),
    )
    by_environment = settings(
        INSOURCE_DELIVERY_CIDRS="10.20.0.0/16 fd00::/8",
        INSOURCE_HF_ENDPOINT="https://mirror/hf",
        INSOURCE_DOWNLOAD_PROXY="http://me:pw@proxy:3128",
        INSOURCE_DOWNLOAD_NO_PROXY="a b",
        INSOURCE_DOWNLOAD_CA_CONFIG_MAP="our-ca",
        INSOURCE_NETWORK_POLICIES="true",
    )
    assert by_flags == by_environment
    assert by_flags == DeliverySettings(
        cidrs=("10.20.0.0/16", "fd00::/8"),
        hf_endpoint="https://mirror/hf",
        proxy="http://me:pw@proxy:3128",
        no_proxy=("a", "b"),
        ca_config_map="our-ca",
        network_policies=True,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--delivery-cidr", "10.0.0.1/8"), "write it like 10.20.0.0/16"),
        (("--hf-endpoint", "http://mirror"), "a URL that begins with https:// is needed"),
        (("--download-proxy", "socks5://me:s3cret@proxy"), "a URL that begins with http:// or https:// is needed"),
        (("--download-proxy", "proxy:3128"), "a URL that begins with http:// or https:// is needed"),
    ],
)
def test_a_wrong_flag_is_refused_and_shows_no_password(arguments: tuple[str, str], words: str) -> None:
    done = CliRunner().invoke(program, arguments)
    assert done.exit_code == 2
    assert arguments[0] in done.output
    assert words in done.output.replace("\n", " ")
    assert "s3cret" not in done.output


@pytest.mark.parametrize("url", ["http://me:s3cret@proxy:port", "http://me:s3cret@proxy:0", "http://me:s3cret@[proxy"])
def test_a_proxy_that_cannot_be_read_is_refused_before_any_pod_has_it(url: str) -> None:
    done = CliRunner().invoke(program, ("--download-proxy", url))
    assert done.exit_code == 2
    assert "a port from 1 to 65535" in done.output.replace("\n", " ")
    assert "s3cret" not in done.output
