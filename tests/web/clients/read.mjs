// Reads responses with the real clients. A line of JSON on standard input is a job, a line on standard output its
// result, as described in clients.py. With an address as the argument of a job, the response is fetched from there.
import { createInterface } from 'node:readline';
import * as ai7 from 'ai';
import * as ai6 from 'ai6';
import { HttpAgent } from '@ag-ui/client';
import { EventSchema, RunAgentInputSchema } from '@ag-ui/core/schemas';
import { createParser } from 'eventsource-parser';

let warnings = [];
console.warn = (...words) => warnings.push(words.map(String).join(' '));
console.error = (...words) => warnings.push(words.map(String).join(' '));

// A fetch that answers with the pieces of a job, and keeps what was asked.
function answering(job, asked) {
  return async (url, init) => {
    asked.push({ url: String(url), method: init.method, body: init.body === undefined ? null : JSON.parse(init.body) });
    const pieces = job.pieces.map(piece => Buffer.from(piece, 'base64'));
    const body = new ReadableStream({
      pull(controller) {
        if (pieces.length === 0) controller.close();
        else controller.enqueue(new Uint8Array(pieces.shift()));
      },
    });
    return new Response(body, { status: 200, headers: job.headers });
  };
}

class Chat extends ai7.AbstractChat {}
class Chat6 extends ai6.AbstractChat {}

function chatState(messages) {
  return {
    status: 'ready',
    error: undefined,
    messages,
    pushMessage(message) { this.messages = this.messages.concat(message); },
    popMessage() { this.messages = this.messages.slice(0, -1); },
    replaceMessage(index, message) { this.messages = this.messages.with(index, message); },
    snapshot: value => structuredClone(value),
  };
}

// What useChat does: a chat over the transport, with a message of the user; then what it would send next.
async function ui(job, ai, ChatClass) {
  const asked = [];
  const data = [];
  const finished = [];
  const transport = new ai.DefaultChatTransport({ fetch: answering(job, asked) });
  const errors = [];
  const chat = new ChatClass({
    id: 'chat',
    transport,
    state: chatState(job.messages ?? []),
    onError: error => errors.push(String(error.message)),
    onData: part => data.push(part),
    onFinish: end => finished.push({ isAbort: end.isAbort, isError: end.isError, finishReason: end.finishReason }),
  });
  if (job.resume) await chat.resumeStream();
  else await chat.sendMessage(job.text === undefined ? undefined : { text: job.text });
  // The chunks once more, checked one by one.
  const chunks = [];
  const stream = await transport.sendMessages({ chatId: 'chat', messages: [], trigger: 'submit-message' });
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
  }
  const readErrors = [];
  let read;
  for await (const message of ai.readUIMessageStream({
    stream: ReadableStream.from(chunks),
    onError: error => readErrors.push(String(error.message)),
  })) read = message;
  const next = [];
  const other = new ai.DefaultChatTransport({ fetch: answering(job, next) });
  await other.sendMessages({ chatId: 'chat', messages: chat.messages, trigger: 'submit-message' });
  return { messages: chat.messages, status: chat.status, errors, data, finished, chunks, read, readErrors, asked, next: next[0].body };
}

async function agui(job) {
  const asked = [];
  const events = [];
  const agent = new HttpAgent({
    url: 'http://localhost/agent',
    threadId: 'thread-1',
    initialMessages: job.messages ?? [],
    fetch: answering(job, asked),
  });
  let error = null;
  try {
    await agent.runAgent(
      { runId: job.runId ?? 'run-1', tools: job.tools ?? [], resume: job.resume },
      { onEvent: ({ event }) => { events.push(event); } },
    );
  } catch (failure) {
    error = String(failure.message);
  }
  const parsed = events.map(event => EventSchema.safeParse(event)).filter(result => !result.success);
  const next = { ...asked[0].body, messages: agent.messages.filter(message => message.role !== 'activity') };
  return {
    messages: agent.messages, events, error, asked, next, pending: agent.pendingInterrupts,
    misfits: parsed.map(result => String(result.error)), isInput: RunAgentInputSchema.safeParse(next).success,
  };
}

async function sse(job) {
  const events = [];
  const comments = [];
  const errors = [];
  const parser = createParser({
    onEvent: event => events.push(event),
    onComment: comment => comments.push(comment),
    onError: error => errors.push(String(error)),
  });
  const decoder = new TextDecoder();
  for (const piece of job.pieces) parser.feed(decoder.decode(Buffer.from(piece, 'base64'), { stream: true }));
  return { events, comments, errors };
}

const readers = { ai7: job => ui(job, ai7, Chat), ai6: job => ui(job, ai6, Chat6), agui, sse };

for await (const line of createInterface({ input: process.stdin })) {
  const job = JSON.parse(line);
  warnings = [];
  let result;
  try {
    result = await readers[job.client](job);
  } catch (failure) {
    result = { failure: String(failure.stack ?? failure) };
  }
  process.stdout.write(JSON.stringify({ ...result, warnings }) + '\n');
}
