"""Write scripts in the vendors' wire formats: one module per streaming format, and the error envelopes."""

from allm.testing.wire_formats.embeddings import encode_embeddings as encode_embeddings
from allm.testing.wire_formats.errors import (
    Provider as Provider,
    VendorError as VendorError,
    by_status as by_status,
    encode_error as encode_error,
)
from allm.testing.wire_formats.scripts import encode_script as encode_script

__all__ = [
    "Provider",
    "VendorError",
    "by_status",
    "encode_embeddings",
    "encode_error",
    "encode_script",
]
