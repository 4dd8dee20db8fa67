"""The official SDK of the protocol (PyPI `mcp`), imported when a server is first connected.

Importing it takes up to a second, as it brings a web framework and a validator along, so it is done in a thread. What
it gives has no types here: the extra is optional, and type checkers work without it.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Any

from allm.data.attrs_classes import frozen
from allm.http.jumping_clock import in_thread

__all__ = ["Sdk", "load_sdk", "sdk"]


@frozen(eq=False)
class Sdk:
    """The parts that are used.

    Attributes:
        client: `mcp.client.client`: the `Client`, a connection with the protocol spoken over it.
        stdio: `mcp.client.stdio`.
        message: `mcp.shared.message`: what goes through the streams of a transport.
        types: `mcp_types`: the messages.
        methods: `mcp_types.methods`: what each version of the protocol allows.
        anyio: The streams that connect a transport to the SDK.
        validators: `jsonschema.validators`.
    """

    client: ModuleType
    stdio: ModuleType
    message: ModuleType
    types: ModuleType
    methods: ModuleType
    anyio: ModuleType
    validators: ModuleType

    @property
    def Error(self) -> Any:  # noqa: N802  (a class)
        """The exception for an error that the server answered with."""
        return self.client.MCPError

    @property
    def modern_versions(self) -> tuple[str, ...]:
        """The versions of the protocol without sessions."""
        versions: tuple[str, ...] = self.client.MODERN_PROTOCOL_VERSIONS
        return versions


@functools.cache
def sdk() -> Sdk:
    """Import the SDK.

    Raises:
        ImportError: The extra is not installed, or another version is.
    """
    load = importlib.import_module
    try:
        return Sdk(
            client=load("mcp.client.client"),
            stdio=load("mcp.client.stdio"),
            message=load("mcp.shared.message"),
            types=load("mcp_types"),
            methods=load("mcp_types.methods"),
            anyio=load("anyio"),
            validators=load("jsonschema.validators"),
        )
    except ImportError as error:
        raise ImportError(
            f"MCP servers need the SDK of the protocol, version 2.3 or newer ({error}): pip install 'allm-trio[mcp]'"
        ) from error


async def load_sdk() -> Sdk:
    """Import the SDK; the first time in a thread.

    Raises:
        ImportError: As `sdk`.
    """
    return await in_thread(sdk)
