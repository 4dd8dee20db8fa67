"""Trio in a thread of its own, for programs on asyncio and in plain threads: `allm.aio` and `allm.blocking`."""
