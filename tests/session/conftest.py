"""Stores of every kind; those that need a server are tested where its URL is given, as `nox -s stores` does."""

from __future__ import annotations

import os
import uuid

import pytest

import allm

SERVERS = {
    name: os.environ[variable]
    for name, variable in {"postgres": "ALLM_TEST_POSTGRES", "redis": "ALLM_TEST_REDIS"}.items()
    if os.environ.get(variable)
}


@pytest.fixture(params=["memory", "sqlite", *SERVERS])
def store_url(request, tmp_path):
    """The URL of a store; two stores with it see the same sessions, except in memory."""
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/chat.db", **SERVERS}
    if request.param not in urls:
        pytest.skip(f"{request.param}: no server; `nox -s stores` starts one")
    return urls[request.param]


@pytest.fixture
def new_id():
    """An id that no earlier test has used on the same server."""
    return f"test-{uuid.uuid4()}"


@pytest.fixture
async def store(store_url):
    """An open store."""
    async with allm.session.open_store(store_url) as opened:
        yield opened


@pytest.fixture
async def other(store, store_url):
    """The same store, as another worker opens it."""
    if store_url.startswith("memory"):
        yield allm.session.SessionStore(store._backend)
    else:
        async with allm.session.open_store(store_url) as opened:
            yield opened
