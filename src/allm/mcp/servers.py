"""`StdioServer` and `HttpServer`: where an MCP server is, and which of its tools are wanted under which names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast
from urllib.parse import urlsplit

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import EngineError, Problem, ValidationError
from allm.data.problems import shown, wrong_type
from allm.data.tool import Tool
from allm.http.headers import lower_headers
from allm.http.keys import KeyFunction, Secret, key_problem
from allm.http.private_url import as_url

__all__ = ["HttpServer", "Server", "StdioServer", "as_server"]

CONNECT_TIMEOUT = 60.0
"""Seconds: `npx` and `uvx` first download the server that they run."""


def _refuse(name: str, value: Any, expected: str) -> None:
    raise ValidationError([wrong_type((name,), value, expected)], reason="invalid_tool")


def _text(_server: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, str):
        _refuse(attribute.name, value, "str")


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value.lower().startswith(("http://", "https://"))


def _url(_server: Any, _attribute: attrs.Attribute[Any], value: Any) -> None:
    if not _is_url(value):
        _refuse("url", value, "a URL that begins with http:// or https://")


def _name_of(server: Any) -> str:
    """What a server is called unless it has a name: its host, or its command with the script that it runs."""
    if isinstance(server, HttpServer):
        return urlsplit(server.url).netloc.rpartition("@")[2]
    scripts = (Path(text).name for text in server.args if not text.startswith("-"))
    return f"{Path(server.command).name} {next(scripts, '')}".strip()


def _seconds(_server: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        what = Problem((attribute.name,), "must_be_positive", f"is {shown(value)}; expected seconds, more than 0")
        raise ValidationError([what], reason="invalid_tool")


def _arguments(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        _refuse("args", value, "a list of str, one for each argument")
    given: Iterable[Any] = value
    return tuple(str(argument) for argument in given)


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        _refuse("env", value, "a mapping of names to str")
    return {str(name): str(text) for name, text in cast("Mapping[Any, Any]", value).items()}


def _sealed(value: Any) -> Any:
    """A token that no variable holds from here on."""
    if value is not None and not isinstance(value, (str, Secret)) and not callable(value):
        _refuse("auth", value, "a token, or a function that returns one")
    if isinstance(value, str) and (problem := key_problem(value)) is not None:
        raise EngineError(f"the token given as auth {problem}", reason="invalid_key")
    return Secret(value) if isinstance(value, str) else value


@frozen
class StdioServer:
    """A program that speaks MCP on its standard input and output; it runs while it is connected.

        allm.mcp.StdioServer("npx", ["-y", "@modelcontextprotocol/server-filesystem", "/srv"], prefix="files_")

    Attributes:
        command: The program: a name that is looked up in `PATH`, or a path.
        args: Its arguments.
        env: Variables beside the few that every server gets (`PATH`, `HOME` and the like): your own keys stay with you.
        cwd: The folder to run it in; None for the current one.
        prefix: Put before the name of each tool, as `Toolset.prefixed` does.
        only: The tools to use, by their names without the prefix or by a function, as in `Toolset.filtered`.
        name: What errors and logs call the server; by default the command.
        connect_timeout: Seconds in which it has to be ready, at the start and after it was lost.
    """

    command: str = attrs.field(converter=os.fspath)
    args: tuple[str, ...] = attrs.field(default=(), converter=_arguments)
    env: dict[str, str] = attrs.field(factory=dict, converter=_environment, repr=False, kw_only=True, hash=False)
    cwd: str | os.PathLike[str] | None = attrs.field(default=None, kw_only=True)
    prefix: str = attrs.field(default="", kw_only=True, validator=_text)
    only: Iterable[str] | Callable[[Tool], bool] | None = attrs.field(default=None, kw_only=True)
    name: str = attrs.field(default=attrs.Factory(_name_of, takes_self=True), kw_only=True, validator=_text)
    connect_timeout: float = attrs.field(default=CONNECT_TIMEOUT, kw_only=True, validator=_seconds)


@frozen
class HttpServer:
    """A server that speaks MCP over HTTP ("streamable HTTP").

        allm.mcp.HttpServer("https://mcp.example.com/mcp", auth=os.environ["EXAMPLE_TOKEN"], prefix="example_")

    Attributes:
        url: Its endpoint.
        headers: Sent with each request; never shown.
        auth: A token, or a function that returns one, sync or async. It is sent as `Authorization: Bearer ...`. The
            function is called when a token is first needed, and again when the server refuses the token with 401.
        http_client: Your own client, as for adapters: `httpx2.AsyncClient(auth=...)` with the SDK's
            `OAuthClientProvider` signs in with OAuth. It stays open.
        prefix, only, name, connect_timeout: As in `StdioServer`; the name is the URL's host by default.
    """

    url: str = attrs.field(converter=as_url, validator=_url)
    headers: Mapping[str, str | Secret] = attrs.field(
        factory=dict, converter=lower_headers, repr=False, kw_only=True, hash=False
    )
    auth: str | Secret | KeyFunction | None = attrs.field(default=None, repr=False, kw_only=True, converter=_sealed)
    http_client: Any = attrs.field(default=None, repr=False, kw_only=True)
    prefix: str = attrs.field(default="", kw_only=True, validator=_text)
    only: Iterable[str] | Callable[[Tool], bool] | None = attrs.field(default=None, kw_only=True)
    name: str = attrs.field(default=attrs.Factory(_name_of, takes_self=True), kw_only=True, validator=_text)
    connect_timeout: float = attrs.field(default=CONNECT_TIMEOUT, kw_only=True, validator=_seconds)


Server: TypeAlias = StdioServer | HttpServer


def as_server(given: Server | str | Sequence[str]) -> Server:
    """The server that is meant: a URL is one over HTTP, a list of words a command.

    Raises:
        ValidationError: It is none of these.
    """
    if isinstance(given, (StdioServer, HttpServer)):
        return given
    if isinstance(given, str) and _is_url(given):
        return HttpServer(given)
    if isinstance(given, (list, tuple)) and given:
        command, *args = given
        return StdioServer(command, args)
    expected = "an HttpServer or its URL, or a StdioServer or its command as a list, ['npx', '-y', ...]"
    raise ValidationError([wrong_type(("server",), given, expected)], reason="invalid_tool")
