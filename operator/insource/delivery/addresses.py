"""Which addresses a download may ask, so that a URL in a custom resource is no way into the cluster's network. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def networks(cidrs: Iterable[str]) -> tuple[Network, ...]:
    """Parsed ranges; ValueError names the one that is none."""
    return tuple(ip_network(cidr) for cidr in cidrs)


def refused(addresses: Iterable[str], allowed: Sequence[Network]) -> tuple[str, ...]:
    """Those of a host's addresses that are neither public nor in a range that the operator allows."""
    return tuple(text for text in addresses if not _may_ask(_plain(text), allowed))


def literal(host: str) -> Address | None:
    """The address that a URL's host is, if it is one and no name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def bypasses_proxy(host: str, no_proxy: Iterable[str]) -> bool:
    """Whether `NO_PROXY` (names, domains with or without a leading dot, addresses, ranges, `*`) covers a host."""
    address, host = literal(host), host.lower().rstrip(".")
    for item in filter(None, (entry.strip().lower() for entry in no_proxy)):
        domain = item.lstrip(".")
        if item == "*" or host == domain or host.endswith(f".{domain}"):
            return True
        if address is not None and _in_range(address, item):
            return True
    return False


def _may_ask(address: Address, allowed: Sequence[Network]) -> bool:
    """Note: `0.0.0.0/0` is a way to say `the Internet`; it must not open what is inside."""
    if any(address in network for network in allowed if not network.is_global):
        return True
    return address.is_global and not address.is_multicast


def _plain(text: str) -> Address:
    """An IPv4 address that is written as an IPv6 one is judged as what it is."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _in_range(address: Address, text: str) -> bool:
    try:
        return address in ip_network(text, strict=False)
    except ValueError:
        return False
