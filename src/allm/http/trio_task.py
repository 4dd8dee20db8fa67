"""The check that a call is made from Trio, before one of Trio's internals fails with an obscure error."""

from __future__ import annotations

import trio

__all__ = ["check_trio_task"]


def check_trio_task() -> None:
    """Refuse to run outside Trio.

    Raises:
        RuntimeError: The caller is not a Trio task.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "allm runs on Trio, and this is not a Trio task. In a script: trio.run(main). In asyncio code, such as a "
            "notebook or FastAPI: await asyncio.to_thread(trio.run, main). The page docs/environments.md has examples"
        )
