"""Which addresses are public: the same on every Python version, however many of IANA's registries it knows."""

from __future__ import annotations

import pytest

from allm.http.addresses import is_public

NOT_PUBLIC = {
    "this machine": "127.0.0.1 127.9.9.9 ::1 0.0.0.0 0.0.0.1 ::",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 fc00::1 fd00::1 fec0::1",
    "link-local": "169.254.0.1 fe80::1 fe80::1%eth0",
    "metadata of clouds": "169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fd20:ce::254",
    "multicast and broadcast": "224.0.0.1 239.255.255.255 255.255.255.255 ff02::1 ff0e::1",
    "reserved": "240.0.0.1 192.0.0.8 192.0.0.9 192.88.99.1 198.18.0.1 4000::1 5f00::1 100::1 100:0:0:1::1",
    "documentation": "192.0.2.1 198.51.100.1 203.0.113.9 2001:db8::1 3fff::1",
    "protocols": "2001:1::1 2001:20::1 192.31.196.1 192.52.193.1 192.175.48.1 2620:4f:8000::1",
    "IPv4 in IPv6, mapped": "::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:168.63.129.16",
    "IPv4 in IPv6, compatible and translated": "::127.0.0.1 ::10.0.0.1 ::ffff:0:127.0.0.1",
    "IPv4 in IPv6, NAT64": "64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::a00:1 64:ff9b:1::808:808",
    "IPv4 in IPv6, 6to4": "2002:7f00:1:: 2002:a00:1::1 2002:a9fe:a9fe::1",
    "IPv4 in IPv6, Teredo": "2001:0:4136:e378:8000:63bf:80ff:fffe 2001:0:808:808::f7f7:f7f7",
}
PUBLIC = (
    "93.184.215.14 1.1.1.1 192.0.1.1 168.63.129.15 2606:2800:21f:cb07:6820:80da:af6b:8b2c 2a00:1450:4001:80b::200e "
    "64:ff9b::5db8:d70e ::ffff:8.8.8.8 2002:808:808::1"
)


@pytest.mark.parametrize(
    "address", [pytest.param(one, id=f"{kind} {one}") for kind, some in NOT_PUBLIC.items() for one in some.split()]
)
def test_addresses_that_are_not_public(address):
    """This machine, its network, its cloud, unassigned addresses, and all of these embedded in IPv6 addresses."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_addresses_that_are_public(address):
    """Internet addresses, also where they are embedded in others."""
    assert is_public(address)


def test_a_host_name_is_not_an_address():
    """A name has to be resolved first."""
    with pytest.raises(ValueError, match="example"):
        is_public("example.com")
