"""AWS credentials and the signature that they make of a request (Signature Version 4), by botocore's own code.

botocore looks for credentials where every program of AWS does: variables, `~/.aws`, a container, a machine's role. That
may read files and ask servers, and blocks, so it is done in a thread. It is done once for all calls that wait for it:
the thread that comes first holds a lock, and a caller that is cancelled does not stop it, so that the next one has the
outcome. Credentials that expire are asked anew by botocore itself, before they do.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from allm.adapters import Body, HttpCall, Secret, in_thread
from allm.data.errors import AdapterError

__all__ = ["Signer", "has_botocore"]

_SERVICE = "bedrock"  # not bedrock-runtime, which is the name of the host
_SIGNED = ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")


@functools.cache
def has_botocore() -> bool:
    """Whether the extra `bedrock` is installed."""
    return importlib.util.find_spec("botocore") is not None


@attrs.define(eq=False)
class Signer:
    """Signs calls for one region.

    Attributes:
        region: Such as `us-east-1`.
        profile: A profile of `~/.aws/config`; None: AWS_PROFILE, else the default one.
    """

    region: str
    profile: str | None = None
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False, repr=False)
    _credentials: Any = attrs.field(default=None, init=False, repr=False)

    async def __call__(self, call: HttpCall) -> Mapping[str, Secret]:
        """The headers that sign a call.

        Raises:
            AdapterError: `authentication_failed`: there are no credentials, or they cannot be renewed.
        """
        return await in_thread(functools.partial(self._sign, call))

    def _sign(self, call: HttpCall) -> dict[str, Secret]:
        auth, request_module = _botocore("auth"), _botocore("awsrequest")
        try:
            credentials = self._found()
        except Exception as error:
            what = f"the AWS credentials cannot be used ({type(error).__name__}: {error})"
            raise AdapterError(what, reason="authentication_failed") from error
        if credentials is None:
            what = "no AWS credentials were found in the variables, in ~/.aws, or in the role of this machine"
            raise AdapterError(what, reason="authentication_failed").advised(
                ": set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK, or run aws login"
            )
        # The host, the type and what botocore adds are signed; any other header may be changed on the way.
        request = request_module.AWSRequest(method=call.method, url=str(call.url), data=b"")
        if "content-type" in call.headers:  # a call without a body has none
            request.headers["content-type"] = str(call.headers["content-type"])
        request.headers["X-Amz-Content-SHA256"] = _digest(call.body)
        auth.SigV4Auth(credentials, _SERVICE, self.region).add_auth(request)
        signed = {name.lower(): str(value) for name, value in request.headers.items()}
        return {name: Secret(signed[name]) for name in _SIGNED if name in signed}

    def _found(self) -> Any:
        with self._lock:
            if self._credentials is None:
                self._credentials = _botocore("session").Session(profile=self.profile).get_credentials()
            return None if self._credentials is None else self._credentials.get_frozen_credentials()


def _botocore(module: str) -> Any:
    return importlib.import_module(f"botocore.{module}")  # it has no types


def _digest(body: bytes | Body) -> str:
    digest = hashlib.sha256()
    chunks: Any = (body,) if isinstance(body, bytes) else body.open()
    if not isinstance(chunks, Iterable):
        raise AdapterError("a body that is read asynchronously cannot be signed", reason="invalid_request")
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
