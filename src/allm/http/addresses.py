"""Which IP addresses are public: not this machine, its network, or the services of its cloud.

The standard library knows most of IANA's registries of special addresses, but each version of Python knows a different
part of them (192.0.0.192, Oracle's metadata service, is public to 3.11.7 and private to 3.13), so the gaps are listed
here.
"""

from __future__ import annotations

import ipaddress

__all__ = ["is_public"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NOT_PUBLIC_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "192.0.0.0/24",  # RFC 6890, protocol assignments; 192.0.0.192 is the metadata service of Oracle's cloud
            "192.31.196.0/24",  # RFC 7535, AS112
            "192.52.193.0/24",  # RFC 7450, multicast tunnels
            "192.88.99.0/24",  # RFC 7526, relays of 6to4
            "192.175.48.0/24",  # RFC 7534, AS112
            "168.63.129.16/32",  # Azure's platform service, a public address that each virtual machine has for itself
        ),
    )
)
_NOT_PUBLIC_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # RFC 2928, protocol assignments, Teredo (RFC 4380) among them
            "2620:4f:8000::/48",  # RFC 7534, AS112
            "3fff::/20",  # RFC 9637, documentation
        ),
    )
)
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
"""All that IANA assigns as global unicast (RFC 4291); the rest is link-local, site-local, multicast, or unassigned."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052. Its sibling for use inside one network, 64:ff9b:1::/48 (RFC 8215), is not public."""
_LOW_32_BITS = 0xFFFF_FFFF


def is_public(address: str) -> bool:
    """Whether an address, with or without a zone (`fe80::1%eth0`), is a public one on the internet.

    An IPv6 address that embeds an IPv4 address is public if that one is.

    Raises:
        ValueError: `address` is not an IP address.
    """
    return _is_public(ipaddress.ip_address(address.partition("%")[0]))


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _embedded_ipv4(address)
        if embedded is not None:
            return _is_public(embedded)
        if address not in _GLOBAL_6 or any(address in network for network in _NOT_PUBLIC_6):
            return False
    elif any(address in network for network in _NOT_PUBLIC_4):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets to `address` end up at: mapped, NAT64, 6to4 (RFC 3056)."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & _LOW_32_BITS)
    return address.ipv4_mapped or address.sixtofour
