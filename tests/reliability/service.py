"""A small web service on Trio, for the trials of signals: `python service.py MODEL_URL STORE_URL`.

It prints its port. Each POST is a turn of the session that the path names; the answer is streamed as it comes. SIGTERM
and Ctrl-C end the service, with whatever is running.
"""

from __future__ import annotations

import functools
import signal
import sys

import h11
import trio

import allm


async def stop_at_signal(scope, task_status=trio.TASK_STATUS_IGNORED):
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


async def handle(store, engine, stream):
    connection = h11.Connection(h11.SERVER)
    path, body, event = "", b"", None
    while not isinstance(event, h11.EndOfMessage):
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.Request):
            path = event.target.decode().strip("/")
        elif isinstance(event, h11.Data):
            body += event.data
    head = h11.Response(status_code=200, headers=[("content-type", "text/plain"), ("transfer-encoding", "chunked")])
    await stream.send_all(connection.send(head))
    async with store.turn(path) as turn, turn.stream_reply(engine, body.decode()) as events:
        async for text in events.text():
            await stream.send_all(connection.send(h11.Data(data=text.encode())))
    await stream.send_all(connection.send(h11.EndOfMessage()))


async def main(model_url, store_url):
    adapter = allm.providers.OpenAI(api_key="k", base_url=model_url)
    engine = allm.Engine(adapter=adapter, model="m", retry=None)
    async with allm.session.open_store(store_url) as store, trio.open_nursery() as nursery:
        await nursery.start(stop_at_signal, nursery.cancel_scope)
        serve = functools.partial(trio.serve_tcp, functools.partial(handle, store, engine), 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        print(listeners[0].socket.getsockname()[1], flush=True)


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
