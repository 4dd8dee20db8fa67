"""Access to what a prepared call will send."""

from __future__ import annotations


def headers_of(call):
    """The headers of a call, including the one with the key."""
    credential = call.credential
    sent = {**call.headers, **({} if credential is None else credential.in_header(credential.source))}
    return {name: value if isinstance(value, str) else value.reveal() for name, value in sent.items()}
