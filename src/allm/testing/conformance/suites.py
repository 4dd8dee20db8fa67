"""The two suites."""

from __future__ import annotations

from allm.testing.conformance.delivery_cases import DeliveryCases
from allm.testing.conformance.prepare_cases import PrepareCases

__all__ = ["AdapterConformance", "StreamAdapterConformance"]


class AdapterConformance(PrepareCases):
    """The cases of `prepare`: what holds before anything is sent.

    Subclass it in a test file, define `make_adapter`, and pytest runs every case. `StreamAdapterConformance` has these
    cases and those of the answers.
    """


class StreamAdapterConformance(DeliveryCases, AdapterConformance):
    """All cases: `prepare`, clean answers, failures, lifetimes, and delivery over HTTP.

    Subclass it in a test file, define `make_adapter`, set `wire_format` or define `make_reply`, and declare in `lacks`
    what the adapter does not have. A case that needs something the adapter lacks is skipped, with the reason given.
    """
