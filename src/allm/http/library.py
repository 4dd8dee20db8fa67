"""The HTTP library and its TLS settings: which one it is, and how they are loaded without holding up a running loop.

httpx2 is used when it is installed, else httpx (same API). Importing it and reading the certificates takes from 0.1 s
on a fast machine to 1.2 s on a busy one, and nothing else in the loop would run meanwhile. So the first call of a
process has it done in a thread, or `allm.warm_up` before it.
"""

from __future__ import annotations

import functools
import importlib
import os
import ssl
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import trio

from allm.data.errors import EngineError
from allm.http.jumping_clock import in_thread

__all__ = ["check_certificates", "check_client", "core", "library", "library_of", "load", "loaded", "multipart", "tls"]

LIBRARIES = ("httpx2", "httpx")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment variables that say where certificates are; the first one counts."""

loaded: set[bool] = set()
"""What has been loaded: False for the library, True for the library and the certificates."""
_loading: trio.lowlevel.RunVar[trio.Lock] = trio.lowlevel.RunVar("allm_http_loading")


@functools.cache
def library() -> ModuleType:
    """The HTTP library.

    Raises:
        ImportError: None is installed.
    """
    for name in LIBRARIES:
        try:
            return _without_command(name)
        except ImportError:
            continue
    raise ImportError("allm needs httpx or httpx2: pip install httpx")


def _without_command(name: str) -> ModuleType:
    """Import a library without its command, for which httpx loads rich, pygments and click wherever they are installed.

    They are half of what it takes to import it. httpx2 does the same by itself.
    """
    modules: dict[str, Any] = sys.modules
    command = f"{name}._main"
    if name in modules:
        return importlib.import_module(name)
    modules[command] = None  # importing it is an error meanwhile, as without these packages
    try:
        module = importlib.import_module(name)
    finally:
        modules.pop(command, None)
    if name == "httpx":
        vars(module)["main"] = lambda: importlib.import_module(command).main()
    return module


@functools.cache
def core(name: str) -> ModuleType:
    """The package that the library of this name makes connections with: httpcore or httpcore2."""
    return importlib.import_module(name.replace("httpx", "httpcore"))


def library_of(client: Any) -> ModuleType:
    """The library that a user's client is from.

    Raises:
        EngineError: `invalid_engine`: it is no async client of a known library.
    """
    for name in LIBRARIES:
        module = sys.modules.get(name)
        if module is not None and isinstance(client, module.AsyncClient):
            return module
    raise EngineError(
        f"http_client is {type(client).__name__}; expected httpx.AsyncClient or httpx2.AsyncClient",
        reason="invalid_engine",
    )


def check_client(client: Any) -> None:
    """Refuse anything that is not an async client of a known library.

    Raises:
        EngineError: `invalid_engine`.
    """
    library_of(client)


@functools.cache
def tls(*, secure: bool = True) -> Any:
    """The TLS settings of every shared client: the certificates are read once.

    Args:
        secure: Without TLS no certificates are read; the context that stands for them would trust nobody.

    Raises:
        EngineError: `invalid_environment`: the variable that says where certificates are.
    """
    if not secure:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return library().create_ssl_context()
    except OSError as error:  # those of TLS are too
        if (name := _variable()) is None:
            raise
        raise _unreadable(name, error.strerror or str(error)) from error


def check_certificates() -> None:
    """Look whether the environment's certificates are there; they are read later, which takes longer.

    Raises:
        EngineError: `invalid_environment`.
    """
    name = _variable()
    if name is None or True in loaded:
        return
    place = os.environ[name]
    try:
        if name == _CERTIFICATES[0]:
            if b"-----BEGIN" not in Path(place).read_bytes():
                raise _unreadable(name, "there is no certificate in it")
        elif not any(Path(folder).is_dir() for folder in place.split(os.pathsep)):
            raise _unreadable(name, "there is no such folder")  # of which OpenSSL says nothing
    except OSError as error:
        raise _unreadable(name, error.strerror or str(error)) from error


def _variable() -> str | None:
    return next((name for name in _CERTIFICATES if os.environ.get(name)), None)


def _unreadable(name: str, why: str) -> EngineError:
    what = (
        f"{name} is {os.environ[name]!r}, where no certificates can be read ({why}): correct it, or unset it so that "
        "the usual certificates are used"
    )
    return EngineError(what, reason="invalid_environment")


async def load(*, secure: bool) -> None:
    """Load the library, and with `secure` the certificates; the first time in a thread.

    Raises:
        EngineError: `invalid_environment`.
    """
    if secure in loaded:
        return
    try:
        lock = _loading.get()
    except LookupError:
        _loading.set(lock := trio.Lock())
    async with lock:  # a thousand first calls at once need one thread
        if secure in loaded:
            return
        await in_thread(functools.partial(_load, secure=secure))


def _load(*, secure: bool) -> None:
    library().AsyncClient(verify=tls(secure=secure), trust_env=False)  # whose parts it imports only now
    loaded.update({secure, False})


def multipart(
    fields: Mapping[str, str | list[str]], files: Iterable[tuple[str, tuple[str, bytes, str]]]
) -> tuple[str, bytes]:
    """A form with files, as `(content type, body)`.

    Args:
        files: `(field, (file name, content, MIME type))`; a field may come more than once.
    """
    request = library().Request("POST", "http://localhost", data=dict(fields), files=list(files))
    body: bytes = request.read()
    return request.headers["content-type"], body
