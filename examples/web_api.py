"""An HTTP API that streams answers, with FastAPI on asyncio: a reader who goes away ends the call.

    pip install fastapi uvicorn
    uvicorn --app-dir examples web_api:app       # then: curl -N 'http://127.0.0.1:8000/ask?question=Hello'

Run as a program, it asks itself once. `chat_page/` has a whole page, with reload and approval.
"""

from __future__ import annotations

import asyncio
import os

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

import allm
import allm.aio
import allm.web
from allm import fake
from allm.providers import Fake


def make_engine() -> allm.Engine:
    """The model of ALLM_MODEL, else a scripted one."""
    if model := os.environ.get("ALLM_MODEL"):
        return allm.Engine.from_model(model)
    return allm.Engine(adapter=Fake(respond=lambda request: [fake.text(f"You asked: {request.messages[-1].text}")]))


app = FastAPI()
engine = make_engine()  # one for the whole process, whose connections all requests share


@app.get("/ask")
async def ask(question: str) -> Response:
    """The answer as server-sent events; a failure is the last one."""
    return allm.web.sse(allm.aio.stream(engine, question))


@app.get("/short")
async def short(question: str) -> dict[str, str]:
    """The answer as JSON, within ten seconds."""
    async with asyncio.timeout(10):
        return {"answer": allm.unwrap(await allm.aio.generate(engine, question))}


@app.exception_handler(allm.AllmError)
async def failed(_request: Request, error: allm.AllmError) -> JSONResponse:
    """The model is not our client's fault: what it said about us stays here, in the log."""
    return JSONResponse({"error": str(error.reason)}, status_code=502)


@app.exception_handler(TimeoutError)
async def late(_request: Request, _error: TimeoutError) -> JSONResponse:
    """It has taken too long."""
    return JSONResponse({"error": "no answer in ten seconds"}, status_code=504)


async def main() -> None:
    """Ask the API in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        print((await client.get("/short", params={"question": "How are you?"})).json())
        async with client.stream("GET", "/ask", params={"question": "Hello?"}) as response:
            async for line in response.aiter_lines():
                print(line)


if __name__ == "__main__":
    asyncio.run(main())
