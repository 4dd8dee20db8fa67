"""Generated images as providers send them: base64 text, a `data:` URI, or a URL."""

from __future__ import annotations

import base64
import re
from typing import Any

from allm.data.image import Image
from allm.data.image_header import named_mime, sniff_mime

__all__ = ["image_of_base64", "image_of_url"]

_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_HEAD = 64  # characters of base64 text: 48 bytes, enough to recognize an error page
_TEXT = re.compile(rb"\s*(\{|\[|<!doctype html|<html)", re.IGNORECASE)


def image_of_base64(text: str, mime_type: str | None, **fields: Any) -> Image | None:
    """Return the image, or None for broken base64 text and for text that decodes to an error message.

    Args:
        text: Some gateways insert line breaks, or send a `data:` URI.
        mime_type: If known.
        fields: Further fields of `Image`.
    """
    if text.startswith("data:"):
        said, _, text = text.partition(",")
        if not said.endswith(";base64"):
            return None
        mime_type = named_mime(said[5:-7]) or mime_type
    if not _BASE64.fullmatch(text):
        text = "".join(text.split())
        if not _BASE64.fullmatch(text):
            return None
    if len(text) % 4:  # cut off
        return None
    head = base64.b64decode(text[:_HEAD])
    return None if _TEXT.match(head) else Image(("base64", text), sniff_mime(head) or mime_type, **fields)


def image_of_url(url: str, mime_type: str | None, **fields: Any) -> Image | None:
    """Return the image by URL, without fetching it, or None if the URL is neither http, https nor data."""
    if url.startswith("data:"):  # some gateways put the image itself into the URL
        return image_of_base64(url, mime_type, **fields)
    if not url.startswith(("https://", "http://")):
        return None
    return Image(("url", url), mime_type, **fields)
