"""The error of a call that is not made from Trio, in place of an obscure one from inside Trio."""

from __future__ import annotations

__all__ = ["outside_trio"]


def outside_trio() -> RuntimeError:
    """The error to raise where `trio.lowlevel.in_trio_task()` is false."""
    return RuntimeError(
        "allm runs on Trio, and this is not a Trio task. In a script: trio.run(main), or the same function of "
        "allm.blocking. In asyncio code, such as a notebook or FastAPI: the same function of allm.aio, with await. The "
        "page docs/environments.md has examples"
    )
