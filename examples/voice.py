"""Talk to a model: what is said is transcribed, the answer is spoken while it is still being written.

    python examples/voice.py [question.wav]         # writes answer.mp3 beside it; default: a second of silence

With ALLM_MODEL set, speech and transcription are OpenAI's: they need OPENAI_API_KEY.
"""

from __future__ import annotations

import sys
import tempfile
import wave
from pathlib import Path

import demo
import trio

import allm


async def main(question: Path) -> None:
    """Answer a recording with another one."""
    services = {"speech_model": "openai:gpt-4o-mini-tts", "transcription_model": "openai:gpt-4o-transcribe"}
    async with demo.engine(lambda asked: f"{asked.text} It is sunny. Take a hat.", **services) as engine:
        asked = await allm.transcribe(engine, question)
        print("heard:", asked.text)
        async with (
            allm.stream_generate(engine, asked.text) as events,
            allm.stream_synthesize(engine, events.text(), voice="alloy") as speech,
        ):
            answer = question.with_name("answer.mp3")
            await speech.save(answer)
        print("said:", events.result().output_text)
        print(answer.name, "has", answer.stat().st_size, "bytes")


if __name__ == "__main__":
    if sys.argv[1:]:
        trio.run(main, Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "question.wav"
            with wave.open(str(path), "wb") as recording:
                recording.setparams((1, 2, 16000, 0, "NONE", ""))
                recording.writeframes(bytes(32000))  # a second of silence
            trio.run(main, path)
