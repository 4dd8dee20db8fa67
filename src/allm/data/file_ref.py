"""A file that a provider keeps."""

from __future__ import annotations

from allm.data.attrs_classes import frozen

__all__ = ["FileRef"]


@frozen(kw_only=True)
class FileRef:
    """A file that a provider keeps: only the provider that gave it, at the address that gave it, knows its id.

    Attributes:
        provider: Who keeps it, such as `gemini`.
        id: The provider's id of it (`file-...`, `file_...`, `files/...`).
        endpoint: The address that it was uploaded to, where that is not the vendor's own.
        uri: What refers to it in a request, where that is not the id (Gemini).
        filename: Its name, as it was uploaded.
        mime_type: Such as `application/pdf`, or None if it is not known.
        size: How many bytes it has, or None if the provider does not say.
        expires_at: When the provider deletes it, in seconds since 1970 as `time.time()` counts them; None for never.
    """

    provider: str
    id: str
    endpoint: str | None = None
    uri: str | None = None
    filename: str | None = None
    mime_type: str | None = None
    size: int | None = None
    expires_at: float | None = None
