# The functions have the types of allm.session: those of the async functions of the same names.

from allm.session import (
    continue_ as continue_,
    host as host,
    open_store as open_store,
    reply as reply,
    start as start,
    step as step,
    stream_continue as stream_continue,
    stream_reply as stream_reply,
    stream_start as stream_start,
    stream_step as stream_step,
)

__all__ = [
    "continue_",
    "host",
    "open_store",
    "reply",
    "start",
    "step",
    "stream_continue",
    "stream_reply",
    "stream_start",
    "stream_step",
]
