"""One scripted model behind every vendor's format, whole or as a stream: what both programs of a pair ask.

Beside chat it has what `allm.testing.Services` has, batches, and the conversations that OpenAI keeps.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import attrs

from allm import SourcePlace, fake
from allm.testing import RecordedRequest, Reply, Services
from allm.testing.wire_formats import Provider
from migrate.demo_model import Asked, Said, Turn, say
from migrate.demo_requests import media_of, of_anthropic, of_chat, text_of, tool_choice_of

MODELS = ("gpt-4o-mini", "gpt-5-mini", "claude-haiku-4-5", "claude-3-haiku")
TIMES = {"": 1_000_000, "once": 1, "twice": 2}
THOUGHT = "They ask a model."
DAY = "2099-01-01T00:00:00Z"


@attrs.define
class DemoServer:
    """The replies of one server: `WireServer(default=DemoServer())`.

    Attributes:
        failed: How often each question was refused.
        answered: How many answers there were, which are their ids.
        kept: The turns up to each answer of the Responses API, by its id.
        cached: The beginnings of prompts that Anthropic was told to keep.
        batches: The answers of each batch by its id.
    """

    services: Services = attrs.Factory(lambda: Services(models=MODELS))
    failed: Counter[str] = attrs.Factory(Counter)
    answered: int = 0
    kept: dict[str, list[Turn]] = attrs.Factory(dict)
    cached: set[str] = attrs.Factory(set)
    batches: dict[str, Any] = attrs.Factory(dict)

    def __call__(self, request: RecordedRequest) -> Reply:
        """The reply to a request."""
        path = request.path.partition("?")[0]
        if "/batches" in path:
            return self._batch(path, request)
        if path.endswith("/count_tokens"):
            return Reply.json({"input_tokens": of_anthropic(request.json()).words})
        for end, provider, answer in (
            ("/messages", "anthropic", self._anthropic),
            ("/responses", "openai_responses", self._responses),
            ("/chat/completions", "openai", self._chat),
        ):
            if path.endswith(end) and request.method == "POST":
                reply = self._answer(provider, request.json(), answer)
                sent_back = {name: value for name, value in request.headers.items() if name.startswith("x-echo-")}
                return attrs.evolve(reply, headers={**reply.headers, **sent_back})
        return self.services(request)

    def _answer(self, provider: Provider, body: dict[str, Any], answer: Any) -> Reply:
        """The reply to a chat: the error that the question asks for, or of an unknown model, or what the model says."""
        if body["model"] not in MODELS:
            return Reply.error(provider, 404, message=f"There is no model {body['model']}.")
        asked = {"anthropic": of_anthropic, "openai": of_chat, "openai_responses": self._of_responses}[provider](body)
        if fails := re.search(r"Fail with (\d+) ?(once|twice|)", asked.question):
            self.failed[asked.question] += 1
            if self.failed[asked.question] <= TIMES[fails[2]]:
                return Reply.error(provider, int(fails[1]), retry_after=0.01)
        self.answered += 1
        reply = answer(body, asked, say(asked))
        waits = re.search(r"Take (\d+) seconds", asked.question)
        return attrs.evolve(reply, first_delay=float(waits[1])) if waits else reply

    # --- Chat Completions ---

    def _chat(self, body: dict[str, Any], asked: Asked, said: Said) -> Reply:
        probabilities = [{"token": word, "logprob": -len(word) / 8, "top_logprobs": []} for word in said.words]
        if body.get("stream") and not body.get("logprobs"):
            return Reply.script("openai", _items(asked, said), model=body["model"], id=f"chatcmpl-{self.answered}")
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
        if said.calls:
            message["tool_calls"] = [
                {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for n, (name, arguments) in enumerate(said.calls)
            ]
        reason = "tool_calls" if said.calls else "length" if said.cut else "stop"
        counts = {"prompt_tokens": asked.words, "completion_tokens": said.size}
        counts["total_tokens"] = asked.words + said.size
        whole = {"id": f"chatcmpl-{self.answered}", "object": "chat.completion", "created": 1, "model": body["model"]}
        choice = {"index": 0, "finish_reason": reason}
        if body.get("logprobs"):
            choice["logprobs"] = {"content": probabilities}
        if body.get("stream"):
            chunk = {**whole, "object": "chat.completion.chunk", "choices": [{**choice, "delta": message}]}
            return Reply.sse([(None, chunk), (None, {**chunk, "choices": [], "usage": counts}), (None, "[DONE]")])
        return _json({**whole, "choices": [{**choice, "message": message}], "usage": counts})

    # --- Responses ---

    def _of_responses(self, body: dict[str, Any]) -> Asked:
        given = body["input"]
        items = [{"role": "user", "content": given}] if isinstance(given, str) else given
        turns = list(self.kept.get(body.get("previous_response_id") or "", ()))
        turns += [Turn(role="system", text=body["instructions"])] if body.get("instructions") else []
        for item in items:
            if item.get("type") == "function_call_output":
                turns.append(Turn(role="tool", text=text_of(item["output"]), result=True))
            elif item.get("role"):
                turns.append(Turn(role=item["role"], text=text_of(item["content"]), media=media_of(item["content"])))
        tools = {tool["name"]: tool["parameters"] for tool in body.get("tools", ()) if tool["type"] == "function"}
        schema = body.get("text", {}).get("format", {}).get("schema")
        return Asked(
            turns=turns, tools=tools, schema=schema, **tool_choice_of(body), most=body.get("max_output_tokens")
        )

    def _responses(self, body: dict[str, Any], asked: Asked, said: Said) -> Reply:
        id = f"resp_{self.answered}"
        self.kept[id] = [*asked.turns, Turn(role="assistant", text=said.text)]
        thinks = bool((body.get("reasoning") or {}).get("summary"))
        if body.get("stream"):
            return Reply.script("openai_responses", _items(asked, said, thinks=thinks), model=body["model"], id=id)
        output: list[dict[str, Any]] = []
        if thinks:
            summary = [{"type": "summary_text", "text": THOUGHT}]
            output.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAAAABq"})
        if said.text:
            content = [{"type": "output_text", "text": said.text, "annotations": []}]
            message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": content}
            output.append(message)
        for n, (name, arguments) in enumerate(said.calls):
            call = {"call_id": f"call_{n}", "name": name, "arguments": json.dumps(arguments)}
            output.append({"type": "function_call", "id": f"f{n}", "status": "completed", **call})
        usage = {
            "input_tokens": asked.words,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said.size,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked.words + said.size,
        }
        end = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}} if said.cut else {}
        whole = {"id": id, "object": "response", "created_at": 1, "status": "completed", "model": body["model"]}
        rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
        return _json({**whole, **end, "output": output, "usage": usage, **rest})

    # --- Messages ---

    def _anthropic(self, body: dict[str, Any], asked: Asked, said: Said) -> Reply:
        read, written = self._cache(body)
        thinks = body.get("thinking", {}).get("type", "disabled") != "disabled"
        if body.get("stream"):
            counts = {"cached_input_tokens": read, "cache_write_input_tokens": written}
            items = _items(asked, said, thinks=thinks, **counts)
            return Reply.script("anthropic", items, model=body["model"], id=f"msg_{self.answered}")
        content: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
        if said.title is not None:
            place = {"document_index": 0, "document_title": said.title, "start_char_index": 0, "file_id": None}
            place |= {"end_char_index": len(said.text), "cited_text": said.text}
            content[0]["citations"] = [{"type": "char_location", **place}]
        for n, (name, arguments) in enumerate(said.calls):
            content.append({"type": "tool_use", "id": f"call_{n}", "name": name, "input": arguments})
        if thinks:
            content.insert(0, {"type": "thinking", "thinking": THOUGHT, "signature": "c2NyaXB0ZWQ="})
        usage = {"input_tokens": asked.words - read - written, "output_tokens": said.size}
        usage |= {"cache_read_input_tokens": read, "cache_creation_input_tokens": written}
        reason = "tool_use" if said.calls else "max_tokens" if said.cut else "end_turn"
        whole = {
            "id": f"msg_{self.answered}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
        }
        return _json({**whole, "stop_reason": reason, "stop_sequence": None, "usage": usage})

    def _cache(self, body: dict[str, Any]) -> tuple[int, int]:
        """How many words of the prompt were read from the cache, and how many written to it."""
        text, marked = "", [""]
        for blocks in (body.get("system") or [], *(message["content"] for message in body["messages"])):
            for block in [{"text": blocks}] if isinstance(blocks, str) else blocks:
                text += f" {block.get('text', '')}"
                marked += [text] if block.get("cache_control") else []
        read = max((one for one in self.cached if text.startswith(one)), key=len, default="")
        self.cached |= set(marked)
        return len(read.split()), max(0, len(marked[-1].split()) - len(read.split()))

    # --- batches, which have ended when they are asked for ---

    def _batch(self, path: str, request: RecordedRequest) -> Reply:
        anthropic = "anthropic-version" in request.headers
        if request.method == "POST" and path.endswith("/batches"):
            id = f"batch_{len(self.batches)}"
            self.batches[id] = self._ask_all(request, anthropic=anthropic)
        elif path.endswith("/batches"):
            return Reply.json({"data": [self._shown(id) for id in reversed(self.batches)], "has_more": False})
        else:
            id = path.partition("/batches/")[2].partition("/")[0]
        if path.endswith("/results"):
            return Reply(body=self.batches[id].encode())
        shown = self._shown(id)
        base = f"http://{request.headers['host']}{path.partition('/batches')[0]}/batches"
        return Reply.json({**shown, "results_url": f"{base}/{id}/results"} if anthropic else shown)

    def _ask_all(self, request: RecordedRequest, *, anthropic: bool) -> str:
        body, lines = request.json(), []
        if anthropic:
            for one in body["requests"]:
                answer = self._answer("anthropic", one["params"], self._anthropic)
                result = {"type": "succeeded", "message": json.loads(answer.body)}
                lines.append({"custom_id": one["custom_id"], "result": result})
            return "\n".join(map(json.dumps, lines))
        for line in self.services.files[body["input_file_id"]].content.decode().splitlines():
            one = json.loads(line)
            answer = self(attrs.evolve(request, path=one["url"], body=json.dumps(one["body"]).encode()))
            response = {"status_code": answer.status, "body": json.loads(answer.body)}
            lines.append({"id": f"r{len(lines)}", "custom_id": one["custom_id"], "response": response, "error": None})
        return self._as_file("\n".join(map(json.dumps, lines)), request)

    def _as_file(self, text: str, request: RecordedRequest) -> str:
        """Keep the answers as the questions are kept; returns the id."""
        part = 'content-disposition: form-data; name="file"; filename="output.jsonl"'
        form = f"--x\r\n{part}\r\n\r\n{text}\r\n--x--\r\n"
        headers = {**request.headers, "content-type": "multipart/form-data; boundary=x"}
        kept = self.services(attrs.evolve(request, path="/v1/files", headers=headers, body=form.encode()))
        return json.loads(kept.body)["id"]

    def _shown(self, id: str) -> dict[str, Any]:
        of_anthropic = {"processing_status": "ended", "request_counts": {"succeeded": 1}, "ended_at": DAY}
        of_openai = {"status": "completed", "output_file_id": self.batches[id], "object": "batch", "endpoint": ""}
        made = {"created_at": DAY, "expires_at": DAY, "type": "message_batch"}
        return {"id": id, **of_anthropic, **of_openai, **made}


def _items(asked: Asked, said: Said, *, thinks: bool = False, **counts: int) -> list[Any]:
    """What the model says, as a script."""
    items: list[Any] = [fake.reasoning(THOUGHT)] if thinks else []
    items += [fake.text(word) for word in said.words]
    if said.title is not None:
        place = SourcePlace("characters", 0, len(said.text), index=0)
        items.append(fake.citation(quote=said.text, title=said.title, source=place))
    items += [fake.tool_call(name, arguments, id=f"call_{n}") for n, (name, arguments) in enumerate(said.calls)]
    usage = fake.usage(input_tokens=asked.words, output_tokens=said.size, **counts)
    return [*items, usage, *([fake.finish("length")] if said.cut else [])]


def _json(value: Any) -> Reply:
    """A whole answer, with the id that streams have in their head."""
    names = ("x-request-id", "request-id")
    return Reply.json(value, headers=dict.fromkeys(names, Reply.script("openai", []).headers["x-request-id"]))
