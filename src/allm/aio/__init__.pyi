# The functions have the types of allm: those of the async functions of the same names.

from allm import (
    chat as chat,
    classify as classify,
    edit_image as edit_image,
    embed as embed,
    fetch_image as fetch_image,
    generate as generate,
    generate_image as generate_image,
    image_variations as image_variations,
    moderate as moderate,
    step as step,
    stream as stream,
    stream_embed as stream_embed,
    stream_generate as stream_generate,
    stream_step as stream_step,
    stream_synthesize as stream_synthesize,
    stream_transcribe as stream_transcribe,
    synthesize as synthesize,
    transcribe as transcribe,
    warm_up as warm_up,
)
from allm.aio import session as session
from allm.aio.calls import run as run

__all__ = [
    "chat",
    "classify",
    "edit_image",
    "embed",
    "fetch_image",
    "generate",
    "generate_image",
    "image_variations",
    "moderate",
    "run",
    "session",
    "step",
    "stream",
    "stream_embed",
    "stream_generate",
    "stream_step",
    "stream_synthesize",
    "stream_transcribe",
    "synthesize",
    "transcribe",
    "warm_up",
]
