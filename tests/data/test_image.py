"""Images from every source, and the errors for those without bytes."""

from __future__ import annotations

import base64
import os
from pathlib import Path

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


@pytest.mark.parametrize("kind", [allm.Image, allm.Document, allm.Audio, allm.Video])
@pytest.mark.parametrize("given", ["cat.png", 3, None, [1]])
def test_what_is_no_bytes(kind, given):
    """A path is a usual mistake, and `bytes(3)` would be three zeros."""
    with pytest.raises(
        allm.ValidationError, match=rf"{kind.__name__}.from_bytes takes bytes, got {type(given).__name__}"
    ):
        kind.from_bytes(given)


def test_a_folder_is_no_file(tmp_path):
    """The error says so, and names no other folder for an absolute path."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.Image.from_file(tmp_path)
    assert caught.value.message == f"{str(tmp_path)!r} is a folder: check the path"
    with pytest.raises(allm.ValidationError) as caught:
        allm.Image.from_file(tmp_path / "x.png")
    assert caught.value.message == f"there is no image file {str(tmp_path / 'x.png')!r}: check the path"


@pytest.mark.parametrize("kind", [allm.Image, allm.Document, allm.Audio, allm.Video])
@pytest.mark.parametrize("given", [3, None, Path("cat.png")])
def test_what_is_no_url(kind, given):
    """The error names the type."""
    with pytest.raises(
        allm.ValidationError, match=f"{kind.__name__}.from_url takes a text, got {type(given).__name__}"
    ):
        kind.from_url(given)


@pytest.mark.parametrize("kind", [allm.Image, allm.Document, allm.Audio, allm.Video])
@pytest.mark.parametrize("path", ["cat.png", "/images/cat.png", "", "example.com/cat.png"])
def test_a_path_is_no_url(kind, path):
    """No provider could fetch it; the error says what takes a path."""
    with pytest.raises(allm.ValidationError, match=rf"has no scheme .*{kind.__name__}\.from_file") as caught:
        kind.from_url(path)
    assert caught.value.errors[0][1] == "invalid_url"


WITHOUT_BYTES = {
    "a URL": (allm.Image.from_url("https://example.com/x.png"), "remote_source"),
    "no base64": (allm.Image(("base64", "not base64!")), "invalid_base64"),
    "base64 that is no ASCII": (allm.Image(("base64", "Zürich==")), "invalid_base64"),
    "a folder": (allm.Image(("file", ".")), "unreadable_file"),
    "nothing": (allm.Image(("file", os.devnull)), "empty_image"),
    "no file": (allm.Image(("file", "no/such/file.png")), "unreadable_file"),
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


JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(20)
WEBP = b"RIFF\x24\0\0\0WEBPVP8 " + bytes(20)
HEIC = b"\0\0\0\x18ftypheic" + bytes(20)
AVIF = b"\0\0\0\x18ftypavif" + bytes(20)
BMP = b"BM\x40\0\0\0" + bytes(20)
PDF = b"%PDF-1.7" + bytes(20)
TYPES = {
    "image/png": PNG,
    "image/jpeg": JPEG,
    "image/webp": WEBP,
    "image/gif": b"GIF87a" + bytes(20),
    "image/heic": HEIC,
    "image/heif": b"\0\0\0\x18ftypmif1" + bytes(20),
    "image/avif": AVIF,
    "image/bmp": BMP,
    "image/tiff": b"II*\0" + bytes(20),
    "application/pdf": PDF,
}


def text_of(data):
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "label", ["image/png", "IMAGE/GIF", "image/jpg", "application/octet-stream", "text/plain", None]
)
@pytest.mark.parametrize("mime_type", TYPES)
def test_the_bytes_tell_the_type(tmp_path, mime_type, label):
    """Whatever the label says, in a file's name too; and so does the URI that is sent."""
    data = TYPES[mime_type]
    file = tmp_path / "x.png"
    file.write_bytes(data)
    images = [
        allm.Image.from_bytes(data, label),
        allm.Image.from_base64(text_of(data), label),
        allm.Image.from_file(file),
        allm.Image(("bytes", data), label),
        allm.Image(("base64", text_of(data)), label),
        allm.Image.from_data_uri(f"data:{label or ''};base64,{text_of(data)}"),
    ]
    for image in images:
        assert image.resolved_mime_type() == mime_type
        assert image.to_data_uri() == f"data:{mime_type};base64,{text_of(data)}"
    assert {image.mime_type for image in images[:2]} == {mime_type}


LABELS = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "IMAGE/PNG": "image/png",
    "image/x-png": "image/png",
    " image/svg+xml; charset=utf-8": "image/svg+xml",
    "application/octet-stream": None,
    "image/*": None,
    "": None,
}


@pytest.mark.parametrize("label", LABELS)
def test_a_label_counts_where_the_bytes_tell_nothing(label):
    """In its usual form; and for a URL, whose bytes are not at hand."""
    name = LABELS[label]
    unknown = allm.Image(("bytes", b"<svg/>"), label)
    if name is None:
        with pytest.raises(allm.ValidationError, match="type is not known"):
            unknown.resolved_mime_type()
    else:
        assert unknown.resolved_mime_type() == name
    assert allm.Image.from_bytes(b"<svg/>", label).mime_type == name
    assert allm.Image.from_url("https://example.com/x", label).mime_type == name
    assert allm.Image.from_data_uri(f"data:{label};base64,{text_of(b'<svg/>')}").mime_type == name


ODD = PNG + b"\xff\xfe\xfb" * 9 + b"x"  # its base64 text has both characters that differ, and padding
TEXTS = {
    "plain": text_of(ODD),
    "URL-safe": base64.urlsafe_b64encode(ODD).decode(),
    "without padding": text_of(ODD).rstrip("="),
    "URL-safe, without padding": base64.urlsafe_b64encode(ODD).decode().rstrip("="),
    "in lines": base64.encodebytes(ODD).decode(),
    "with spaces around it": f"  {text_of(ODD)}\n",
    "a data URI": f"data:image/png;base64,{text_of(ODD)}",
    "a data URI in other letters": f" DATA:image/jpg;charset=binary;BASE64,{text_of(ODD)}",
    "a data URI in a URL": f"data:;base64,{text_of(ODD)}".replace("+", "%2B").replace("=", "%3D"),
}


@pytest.mark.parametrize("form", TEXTS)
def test_base64_as_it_is_found(form):
    """Every form is the same image, and goes out as plain base64."""
    image = allm.Image.from_base64(TEXTS[form])
    assert (image.to_base64(), image.to_bytes()) == (text_of(ODD), ODD)
    assert image.mime_type == "image/png"
    assert allm.from_json(allm.to_json(image)) == image
    if "data:" in TEXTS[form][:6]:
        assert allm.Image.from_url(TEXTS[form]) == allm.Image.from_data_uri(TEXTS[form]) == image


WRONG = {
    "not base64!": "invalid_base64",
    "A": "invalid_base64",
    "Zürich": "invalid_base64",
    "iVBO=Rw0KGgo": "invalid_base64",
    "data:image/png,iVBORw0KGgo": "invalid_data_uri",
    "data:image/png;base64,?": "invalid_base64",
    "data:image/png;base64,": "empty_image",
    "": "empty_image",
    " \n": "empty_image",
    "==": "empty_image",
}


@pytest.mark.parametrize("text", WRONG)
def test_base64_that_is_no_image(text):
    """It is refused at once, not when a request is built."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.Image.from_base64(text, "image/png")
    assert caught.value.errors == ((("source",), WRONG[text]),)


def test_no_bytes(tmp_path):
    """They are refused at once; a file that is empty, when it is read."""
    with pytest.raises(allm.ValidationError, match="the image has no bytes"):
        allm.Image.from_bytes(b"", "image/png")
    file = tmp_path / "x.png"
    file.touch()
    for call in (allm.Image.from_file(file).to_bytes, allm.Image.from_file(file).resolved_mime_type):
        with pytest.raises(allm.ValidationError, match=r"x\.png' has no bytes"):
            call()
