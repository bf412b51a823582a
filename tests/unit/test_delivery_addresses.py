"""Which addresses a download may ask, and whom it asks without the proxy."""

from __future__ import annotations

import pytest

from insource.delivery.addresses import bypasses_proxy, networks, refused

INSIDE = [
    "127.0.0.1",
    "10.96.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00::1",
    "ff02::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_refused(address: str) -> None:
    assert refused([address], ()) == (address,)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_ones_are_not(address: str) -> None:
    assert refused([address], ()) == ()


def test_a_range_that_the_operator_allows_is_not_refused() -> None:
    allowed = networks(["10.20.0.0/16", "fd00::/8"])
    assert refused(["10.20.1.1", "fd00::7", "::ffff:10.20.3.3", "10.21.1.1"], allowed) == ("10.21.1.1",)


def test_the_whole_internet_does_not_open_what_is_inside() -> None:
    everything = networks(["0.0.0.0/0", "::/0", "8.0.0.0/6"])
    assert refused(["8.8.8.8", "2606:4700::1111", *INSIDE], everything) == tuple(INSIDE)
    assert refused(["100.64.0.1", "169.254.1.1"], networks(["100.64.0.0/10", "169.254.0.0/16"])) == ()


def test_one_address_inside_is_enough_to_refuse_a_name() -> None:
    assert refused(["8.8.8.8", "10.0.0.1"], ()) == ("10.0.0.1",)


@pytest.mark.parametrize("cidr", ["10.0.0.1/8", "everything", "10.0.0.0/33"])
def test_a_range_that_is_none_is_an_error(cidr: str) -> None:
    with pytest.raises(ValueError, match=cidr):
        networks([cidr])


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("hub.corp.example", "corp.example", True),
        ("hub.corp.example", ".corp.example", True),
        ("HUB.corp.example", "hub.CORP.example", True),
        ("corp.example", ".corp.example", True),
        ("notcorp.example", "corp.example", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("huggingface.co", "*", True),
        ("huggingface.co", "", False),
    ],
)
def test_no_proxy(host: str, no_proxy: str, direct: bool) -> None:
    assert bypasses_proxy(host, no_proxy.split(",")) is direct
