"""`allm.session` for programs on asyncio: sessions and the stores of them."""

from __future__ import annotations

from allm import session
from allm.aio.mapped import mapped

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

# The types are in the stub beside this file.
continue_ = mapped(session.continue_)
host = mapped(session.host)
open_store = mapped(session.open_store)
reply = mapped(session.reply)
start = mapped(session.start)
step = mapped(session.step)
stream_continue = mapped(session.stream_continue)
stream_reply = mapped(session.stream_reply)
stream_start = mapped(session.stream_start)
stream_step = mapped(session.stream_step)
