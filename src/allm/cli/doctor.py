"""`allm doctor`: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, final

import attrs
import click
import trio

import allm
from allm.cli.exit_codes import FAILURE, SUCCESS, describe
from allm.cli.folders import config_folder, state_folder
from allm.cli.inputs import engine_of
from allm.cli.key_files import key_variables, keys_file, names_in, providers, use_keys
from allm.cli.log import log_file, log_store
from allm.cli.settings import settings, settings_file
from allm.cli.terminal import Terminal
from allm.http.call import open_call
from allm.http.library import check_certificates
from allm.http.proxies import PROXY_VARIABLES
from allm.runtime.adapters import AdapterOptions
from allm.runtime.http_adapter import HttpAdapter
from allm.runtime.registry import adapter_for, known_providers

__all__ = ["Doctor"]

Level = Literal["ok", "note", "fail"]
_EXTRAS = {
    "httpx2": ("httpx2",),
    "prices": ("genai-prices",),
    "postgres": ("psycopg",),
    "redis": ("redis",),
    "local": ("xllamacpp",),
}
_MODELS = {"anthropic": "/v1/models", "gemini": "/v1beta/models"}
"""Where the list of models is, which needs a key and costs nothing; `/models` elsewhere."""
_PATIENCE = 10.0  # seconds for one provider
_DARK = frozenset({"REQUEST_METHOD"})


@attrs.frozen
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        level: `ok`, `note` (works, or is not needed), or `fail`.
        text: What was found, and what to do.
    """

    name: str
    level: Level
    text: str


@final
@attrs.frozen(eq=False, kw_only=True)
class Doctor:
    """Looks at everything that a command needs.

    Attributes:
        online: Also call each provider that has a key.
        as_json: Print one JSON document in each line.
    """

    terminal: Terminal
    online: bool
    as_json: bool

    def run(self) -> int:
        """Print the report, and return the exit code: 1 if something fails."""
        failed = False
        for check in self._checks():
            failed |= check.level == "fail"
            if self.as_json:
                line = json.dumps(attrs.asdict(check), ensure_ascii=False)
            else:
                line = f"{check.level:<5} {check.name:<14} {check.text}"
            self.terminal.stdout.show(f"{line}\n")
        return FAILURE if failed else SUCCESS

    def _checks(self) -> Iterator[Check]:
        yield Check("allm", "ok", f"{allm.__version__}, Python {platform.python_version()}, {sys.platform}")
        yield from _packages()
        broken = _settings()
        yield broken
        if broken.level == "fail":
            return  # the other checks need the settings
        yield from _keys()
        yield _default_model()
        yield _network()
        yield from _files()
        yield self._screen()
        if self.online:
            yield from trio.run(self._calls)

    def _screen(self) -> Check:
        if not self.terminal.stdout.isatty():
            return Check("terminal", "note", "the output is no terminal, so answers are not rendered")
        if not self.terminal.stdout.styled:
            return Check("terminal", "note", "no colours: NO_COLOR is set, or TERM is dumb")
        return Check("terminal", "ok", f"{os.environ.get('TERM')}, {self.terminal.stdout.encoding}")

    async def _calls(self) -> list[Check]:
        found: list[Check] = []
        for name in sorted(known_providers()):
            adapter: Any = adapter_for(name)
            if isinstance(adapter, HttpAdapter) and _places(name):
                found.append(await _call(name, adapter))
        return found


def _packages() -> Iterator[Check]:
    needed = {name: _version(name) for name in ("trio", "attrs", "cattrs", "msgspec", "jiter")}
    http = next((name for name in ("httpx2", "httpx") if _version(name)), None)
    if http is None or None in needed.values():
        missing = ", ".join([name for name, found in needed.items() if found is None] + ([] if http else ["httpx"]))
        yield Check("packages", "fail", f"missing: {missing}; install allm-trio again")
    else:
        needed[http] = _version(http)
        yield Check("packages", "ok", ", ".join(f"{name} {found}" for name, found in needed.items()))
    for extra, names in _EXTRAS.items():
        missing = ", ".join(name for name in names if _version(name) is None)
        if missing:
            yield Check("extra", "note", f"{extra} is not installed: pip install 'allm-trio[{extra}]'")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _settings() -> Check:
    try:
        settings()
        use_keys()
    except click.ClickException as error:
        return Check("settings", "fail", error.message)
    path = settings_file()
    return Check("settings", "ok", str(path) if path.exists() else f"{path} is not there, so the defaults count")


def _keys() -> Iterator[Check]:
    found = {provider: places for provider in providers() if (places := _places(provider))}
    for provider, place in found.items():
        yield Check("key", "ok", f"{provider}: {place}")
    if not found:
        yield Check("key", "note", "none; to store one: allm keys set openai")


def _places(provider: str) -> str | None:
    """Where the key of a provider is."""
    files = [Path(".env")] if settings().dotenv else []
    for variable in key_variables(provider):
        if os.environ.get(variable):
            return f"{variable} in the environment"
        for path in [*files, keys_file()]:
            if variable in names_in(path):
                return f"{variable} in {path}"
    return None


def _default_model() -> Check:
    model = os.environ.get("ALLM_MODEL") or settings().model
    if model is None:
        return Check("model", "note", "no default; to choose one: allm models default PROVIDER:ID")
    try:
        engine_of(model, None)
    except (click.ClickException, allm.AllmError) as error:
        return Check("model", "fail", f"{model}: {error.message}")
    return Check("model", "ok", model)


def _network() -> Check:
    try:
        check_certificates()
    except allm.EngineError as error:
        return Check("network", "fail", error.message)
    names = [name for name in PROXY_VARIABLES if os.environ.get(name) and name not in _DARK]
    return Check("network", "ok", f"proxy settings: {', '.join(names)}" if names else "no proxy settings")


def _files() -> Iterator[Check]:
    for folder in dict.fromkeys((config_folder(), state_folder())):
        above = next(path for path in (folder, *folder.parents) if path.exists())
        if os.access(above, os.W_OK):
            yield Check("folder", "ok", str(folder))
        else:
            yield Check("folder", "fail", f"{folder} cannot be written to: chmod u+w {above}, or set ALLM_HOME")
    path = log_file()
    if not path.exists():
        yield Check("log", "ok" if settings().log else "note", "empty" if settings().log else "off: allm logs on")
        return
    try:
        count = trio.run(_conversations)
    except allm.SessionError as error:
        yield Check("log", "fail", f"{error.message}; move {path} away, and a new one is made")
        return
    kept = "on" if settings().log else "off"
    yield Check("log", "ok", f"{kept}, {count} conversations in {path}")


async def _conversations() -> int:
    """How many conversations the log has."""
    count = 0
    async with log_store() as store:
        page = await store.ids(limit=1000)
        while page:
            count += len(page)
            page = await store.ids(limit=1000, after=page[-1])
    return count


async def _call(name: str, adapter: HttpAdapter) -> Check:
    """Ask a provider for its models."""
    begun = time.monotonic()
    try:
        options = AdapterOptions()
        url = adapter.url(_MODELS.get(name, "/models"), options)
        call = attrs.evolve(adapter.call(url, b"", options), method="GET")
        with trio.fail_after(_PATIENCE):
            async with open_call(call):
                pass
    except trio.TooSlowError:
        return Check("call", "fail", f"{name}: no answer in {_PATIENCE:g} s; check the network and the proxy settings")
    except allm.AllmError as error:
        return Check("call", "fail", f"{name}: {describe(error)}")
    return Check("call", "ok", f"{name}: the key is accepted, {1000 * (time.monotonic() - begun):.0f} ms")
