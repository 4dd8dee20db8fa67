"""What the HTTP library raises, as `AdapterError`: what went wrong, and whether it may pass."""

from __future__ import annotations

import re
import ssl
import sys
from types import ModuleType

from allm.data.errors import AdapterError
from allm.http.errors import without_frames

__all__ = ["mapped", "unconnected"]


def unconnected(error: Exception) -> AdapterError:
    """The error of a connection that failed in a way that the HTTP library does not expect.

    A resolver that answers nothing ends in an error of the code that would have used its answer; that of a host name
    which cannot be encoded comes before anything is asked, and comes again.
    """
    what = (
        f"the server cannot be reached ({type(error).__name__}: {error}): the resolver has no usable address for its "
        "name, or for that of the proxy"
    )
    return AdapterError(what, reason="network_error", retryable=not isinstance(error, UnicodeError))


class mapped:  # noqa: N801  (a `with` block, not a thing)
    """The HTTP library's exceptions as `AdapterError`."""

    def __init__(self, library: ModuleType, *, reading: bool) -> None:
        self._library = library
        self._reading = reading

    def __enter__(self) -> None:
        self._outside = sys.exception()

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        library = self._library
        if isinstance(error, (library.InvalidURL, library.DecodingError, library.StreamError, library.TransportError)):
            without_frames(error, self._outside)  # the library's have the bytes that it sends, and with them the key
        if isinstance(error, library.InvalidURL):
            raise AdapterError(f"the URL is not usable: {error}", reason="invalid_request", retryable=False) from error
        if isinstance(error, library.DecodingError):
            what = f"the body is not in the encoding that its headers name ({error})"
            raise AdapterError(what, reason="malformed_response") from error
        if isinstance(error, library.StreamError):  # a hook, or the transport, of the user's client
            what = f"the body of the answer was read or closed before ({error}); await response.aread() keeps it"
            raise AdapterError(what, reason="malformed_response") from error
        if not isinstance(error, library.TransportError):
            return
        what = _words_of(error)
        if isinstance(error, library.TimeoutException):
            raise AdapterError(f"the connection timed out ({what})", reason="timeout") from error
        if isinstance(error, (library.UnsupportedProtocol, library.LocalProtocolError)):
            raise AdapterError(f"the request cannot be sent ({what})", reason="invalid_request") from error
        if self._reading and isinstance(error, library.RemoteProtocolError):
            raise AdapterError(
                f"the connection ended before the answer did ({what})", reason="stream_truncated"
            ) from error
        raise AdapterError(
            f"the server cannot be reached ({what})", reason="network_error", retryable=not _is_lasting(library, error)
        ) from error


_REFUSED_BY_PROXY = re.compile(r"(?!408|425|429)4\d\d\b|.*(username|password|authenticat)", re.IGNORECASE)


def _is_lasting(library: ModuleType, error: BaseException | None) -> bool:
    """Whether the same request meets the same trouble: a proxy that refuses it, a certificate that does not verify."""
    if isinstance(error, library.ProxyError):
        return _REFUSED_BY_PROXY.match(str(error)) is not None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        if isinstance(cause, ssl.SSLError) and _REFUSED_CERTIFICATE.search(cause.reason or ""):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


_REFUSED_CERTIFICATE = re.compile(r"ALERT_.*(CERTIFICATE|UNKNOWN_CA)")
"""The server does not take the client's certificate, or wants one."""


def _words_of(error: BaseException | None) -> str:
    """Its type, and what it says, or what its causes say: of TLS, the library's own exceptions say nothing."""
    cause = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {cause}" if cause is not None else type(error).__name__
