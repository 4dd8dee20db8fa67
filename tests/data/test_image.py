"""Images from every source, and the errors for those without bytes."""

from __future__ import annotations

import base64

import pytest

import allm

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def test_bytes_from_every_source(tmp_path):
    """The bytes are the same, with the given or detected type."""
    file = tmp_path / "x.PNG"
    file.write_bytes(PNG)
    text = base64.b64encode(PNG).decode()
    for image in (
        allm.Image.from_bytes(PNG),
        allm.Image.from_base64(text),
        allm.Image.from_file(file),
        allm.Image.from_data_uri(f"data:image/png;base64,{text}"),
    ):
        assert image.to_bytes() == PNG
        assert image.to_base64() == text
        assert image.to_data_uri() == f"data:image/png;base64,{text}"
        assert image.url is None
        assert "PNG\\r" not in repr(image)


WITHOUT_BYTES = {
    "a URL": (allm.Image.from_url("https://example.com/x.png"), "remote_source"),
    "no base64": (allm.Image.from_base64("not base64!"), "invalid_base64"),
    "no file": (allm.Image.from_file("no/such/file.png"), "unreadable_file"),
}


@pytest.mark.parametrize("case", WITHOUT_BYTES)
def test_an_image_without_bytes(case):
    """It says why, and writes no file."""
    image, tag = WITHOUT_BYTES[case]
    for call in (image.to_bytes, image.size, lambda: image.save("no/such/folder/x.png")):
        with pytest.raises(allm.ValidationError) as caught:
            call()
        assert caught.value.errors == ((("source",), tag),)


@pytest.mark.parametrize("uri", ["https://example.com/x.png", "data:image/png;base64", "data:image/png,x", ""])
def test_a_uri_without_data(uri):
    """It is rejected with the expected form."""
    with pytest.raises(allm.ValidationError, match="expected data:<mime type>;base64,<data>"):
        allm.Image.from_data_uri(uri)


def test_bytes_of_no_known_type():
    """Without a known type, the type must be given."""
    with pytest.raises(allm.ValidationError, match="pass mime_type"):
        allm.Image.from_bytes(b"text").resolved_mime_type()
    assert allm.Image.from_bytes(b"text", "image/tiff").resolved_mime_type() == "image/tiff"
    assert allm.Image.from_bytes(b"text").size() is None
