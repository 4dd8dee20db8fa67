"""Calls of engines that stand for several: `allm.fallback` and `allm.hedge`."""
