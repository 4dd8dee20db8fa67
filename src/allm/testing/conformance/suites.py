"""The conformance suites for streaming adapters."""

from __future__ import annotations

from allm.testing.conformance.content_cases import ContentCases
from allm.testing.conformance.delivery_cases import DeliveryCases
from allm.testing.conformance.prepare_cases import PrepareCases

__all__ = ["AdapterConformance", "StreamAdapterConformance"]


class AdapterConformance(PrepareCases):
    """The cases for `prepare`, before anything is sent.

    Subclass it in a test file, define `make_adapter`, and pytest runs every case. `StreamAdapterConformance` has these
    cases and those for responses.
    """


class StreamAdapterConformance(DeliveryCases, ContentCases, AdapterConformance):
    """All cases: `prepare`, complete responses, files, hosted calls, failures, lifetimes, and delivery over HTTP.

    Subclass it in a test file, define `make_adapter`, set `wire_format` or define `make_reply`, and declare missing
    capabilities in `lacks`. A case that needs one of them is skipped, with the given reason.
    """
