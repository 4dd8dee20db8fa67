"""The guard of conftest.py: every test runs under `deny_network`."""

from __future__ import annotations

import socket

import pytest

from allm.testing import NetworkDenied


def test_every_test_is_guarded():
    """Also one that asks for no fixture."""
    with socket.socket() as client, pytest.raises(NetworkDenied):
        client.connect(("192.0.2.1", 443))
