"""Sessions: conversations that outlive a turn, a process and a machine."""

from __future__ import annotations

from allm.data.session import (
    Approval as Approval,
    Session as Session,
    SessionConflict as SessionConflict,
    fingerprint as fingerprint,
)
from allm.session.api import (
    continue_ as continue_,
    reply as reply,
    start as start,
    step as step,
    stream_continue as stream_continue,
    stream_reply as stream_reply,
    stream_start as stream_start,
    stream_step as stream_step,
)
from allm.session.between_turns import (
    append as append,
    append_user as append_user,
    approve as approve,
    clear_error as clear_error,
    deny as deny,
    submit_tool_result as submit_tool_result,
    submit_tool_results as submit_tool_results,
)
from allm.session.host import SessionHost as SessionHost, host as host
from allm.session.hosted_stream import HostedStream as HostedStream
from allm.session.reducer import StreamReducer as StreamReducer
from allm.session.stores.backend import Change as Change, Record as Record, StoreBackend as StoreBackend
from allm.session.stores.lease import SessionLease as SessionLease
from allm.session.stores.store import SessionStore as SessionStore
from allm.session.stores.urls import open_store as open_store
from allm.session.turn import SessionStream as SessionStream
from allm.session.turn_start import SessionInput as SessionInput

__all__ = [
    "Approval",
    "Change",
    "HostedStream",
    "Record",
    "Session",
    "SessionConflict",
    "SessionHost",
    "SessionInput",
    "SessionLease",
    "SessionStore",
    "SessionStream",
    "StoreBackend",
    "StreamReducer",
    "append",
    "append_user",
    "approve",
    "clear_error",
    "continue_",
    "deny",
    "fingerprint",
    "host",
    "open_store",
    "reply",
    "start",
    "step",
    "stream_continue",
    "stream_reply",
    "stream_start",
    "stream_step",
    "submit_tool_result",
    "submit_tool_results",
]
