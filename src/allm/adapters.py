"""Kit for adapter authors. The bundled providers use nothing else.

Protocols of adapters:
    `StreamAdapter` for chat, `ImageAdapter`, `EmbeddingAdapter`, `SpeechAdapter` (which opens a `SpokenAnswer`),
    `TranscriptionAdapter` (which can open a `StreamedTranscription`), and
    `UnaryAdapter` for other responses in one piece. `Adapter` has the defaults of optional members, `AdapterOptions`
    the settings of a call beyond its request, `BatchLimits` the most that one embedding request may hold.
    `Adapter.companion` gives the `UnaryAdapter` of a `Companion`: one that counts tokens, which `post_count` does by a
    `CountCall`, or one that lists what there is, a `Page` for each `PageRequest`.
    One of files is asked a `FileRequest`: an `Upload`, `FileGet`, `FileDelete`, `FileContent`, or a page. It answers
    with a `StoredFile`; `FileCall` and `send_file_call` make the calls, `upload_form` the body of an upload,
    `check_lifetime` and `file_segment` refuse what cannot be sent.
    One of caches is asked a `CacheRequest`: a `CacheCreate`, `CacheGet`, `CacheUpdate` or `CacheDelete`, with a
    `Lifetime`, or a page. It answers with a `Cache`; a call has one in its `AdapterOptions`, for `check_cache`.
    One of batches is a `BatchAdapter`; `batch_body` makes the request of one call, `read_json_lines` reads answers.
    `AdapterWrapper` is an adapter around another; `with_texts` changes what is sent, and `request_key` is for caches.

HTTP:
    `HttpAdapter` finds the key, the address and the headers of a `Vendor`, and builds calls. `stream_events` makes a
    `StreamCall`; `post_json` makes an `HttpCall` with a JSON response (`JsonResponse`); `open_call` makes one with any
    other response (`OpenCall`). `Body` is a request body that is read while it is sent, `multipart` makes a form of
    what `form_fields` and `file_field` make, `json_body` JSON; `join_url` and `parts_of` are for URLs. `KeyHeader` and
    `BEARER` say which header carries a key.
    `Credential` is the key of a call: a `Secret`, which hides a string, or a `KeySource`, which calls a function.
    `VertexPlace` has the addresses of models on Google's Vertex AI; `foundation_model` is the model that an id, a
    profile or an ARN of Amazon's stands for.
    `with_query` adds to a URL, and `without_body` makes a GET or DELETE of a call.
    `open_audio` makes a call whose response is speech, `one_piece` passes on audio that came at once, and `wav_header`
    makes a file of raw samples.
    `open_download` opens a file by its address, and follows redirects.
    `own_servers` has the addresses of servers that an adapter runs on this machine: no proxy is asked for them.

Reading a stream:
    `StreamDecoder` is the part of a decoder that is the same for every vendor, `WireDecoder` the protocol that it
    fulfils, `MessageBuilder` collects events into a message, `Pieces` a long text, and `finish_reason_of` knows the
    words with which services end their answers. `SSEDecoder` splits server-sent events, for those who read them without
    `stream_events`; `FrameDecoder` splits the binary frames of AWS: a `Splitter` as well, which a `StreamCall` makes
    with its `new_splitter`. Events that came together are a `Run`, of which is decoded at once what a `Shape` fits;
    `shape_reader` reads it, `wider_shape` makes one for objects with more keys.
    `Origin` says which parts of a conversation a service made itself, and marks those that it makes:
    `HttpAdapter.origin` gives that of an address.

Errors:
    `classify_error` classifies an error response by its status and the usual envelopes. For a vendor's own error codes
    there are `read_error_body` (returns an `ErrorBody`), `reason_for_status`, `status_in`, `stray_error`,
    `RETRYABLE_STATUS`, `CONTEXT_OVERFLOW` and `parse_retry_after`; `malformed` makes the error of an unreadable
    response. A `Problem` describes one thing that cannot be sent, and `refuse` raises all of them at once;
    `UnusableMediaError` is for encoders of files, and
    `unsupported_fields` finds settings that a vendor lacks.

JSON values:
    `loads`, `dumps` and `JsonTextError`; `parse_arguments` for the arguments of a tool call; `value_problem` says what
    keeps a value out of a session; `whole_text` for halves of characters in texts that are not sent as JSON;
    `as_object`, `as_objects`, `as_list`, `as_text` and `as_count` return a value of the expected type, whatever was
    received.

Encoding conversations and media:
    `call_name` and `results_in_place` repair what no vendor accepts, `unsupported_parts` finds what yours does not
    accept; `UniqueIds` keeps ids unique. `keep_encoding` keeps what a message was encoded to, and `kept_encoding` gives
    it back to the next request that has the same `encoding_format`; `Beginning` does so with the first messages of a
    conversation. `base64_text` puts an image, a document, audio or a video into a JSON body, a large one without a
    copy: an `allm.Media`, that of a part is `media_of` it, one of the `MEDIA_TYPES` (`MediaPart`).
    `mime_type_of` says its type; `own_upload` finds a file that the service keeps, `document_text` and
    `document_note` put into text what the service has no field for, `is_text` tells what is text by its type.
    `sniff_mime` and `IMAGE_EXTENSIONS` are for images that are sent, `image_of_base64` and
    `image_of_url` for images received, `vector_of`, `unit_vector`, `embedding_of` and `text_size` for embeddings.
    `transcription_part` (with `as_number`) reads a segment or a word of a transcript, and `speaker_turns` makes
    segments of words that have speakers. `rerank_results` reads a ranking of documents.
    `HostedForm` is what a service has for a kind of `allm.hosted` tool: `wire_tools` makes its own words of those of a
    request, `own_tools` are the others.
    `code_spans` tells where a text in Markdown has code.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from allm.data.content import (
    MEDIA_TYPES as MEDIA_TYPES,
    MediaPart as MediaPart,
    media_of as media_of,
)
from allm.data.document import is_text as is_text
from allm.data.errors import Path as Path
from allm.data.events import Emit as Emit
from allm.data.image import EXTENSIONS as IMAGE_EXTENSIONS
from allm.data.image_header import sniff_mime as sniff_mime
from allm.data.json.text import (
    JsonTextError as JsonTextError,
    Shape as Shape,
    as_count as as_count,
    as_list as as_list,
    as_object as as_object,
    as_objects as as_objects,
    as_text as as_text,
    dumps as dumps,
    loads as loads,
    parse_arguments as parse_arguments,
    shape_reader as shape_reader,
    value_problem as value_problem,
    wider_shape as wider_shape,
)
from allm.data.json.whole import whole_text as whole_text
from allm.data.kept_encodings import (
    Beginning as Beginning,
    encoding_format as encoding_format,
    keep_encoding as keep_encoding,
    kept_encoding as kept_encoding,
)
from allm.data.media import Media as Media
from allm.data.message_builder import (
    MessageBuilder as MessageBuilder,
    Origin as Origin,
    Pieces as Pieces,
    UniqueIds as UniqueIds,
)
from allm.data.problems import (
    Problem as Problem,
    UnusableMediaError as UnusableMediaError,
    refuse as refuse,
    shown as shown,
    unsupported_fields as unsupported_fields,
    wrong_type as wrong_type,
)
from allm.data.request import (
    call_name as call_name,
    results_in_place as results_in_place,
    unsupported_parts as unsupported_parts,
)
from allm.data.user_functions import call_user as call_user
from allm.http.call import (
    HttpCall as HttpCall,
    OpenCall as OpenCall,
    join_url as join_url,
    json_body as json_body,
    open_call as open_call,
    parts_of as parts_of,
    with_query as with_query,
)
from allm.http.decoder import StreamDecoder as StreamDecoder
from allm.http.errors import Classify as Classify, malformed as malformed, request_id_of as request_id_of
from allm.http.finish_words import finish_reason_of as finish_reason_of
from allm.http.inline_base64 import base64_text as base64_text
from allm.http.keys import (
    BEARER as BEARER,
    Credential as Credential,
    KeyFunction as KeyFunction,
    KeyHeader as KeyHeader,
    KeySource as KeySource,
    Secret as Secret,
)
from allm.http.library import multipart as multipart
from allm.http.proxies import own_servers as own_servers
from allm.http.response import Body as Body, HttpResponse as HttpResponse
from allm.http.sse import (
    MAX_EVENT_BYTES as MAX_EVENT_BYTES,
    Run as Run,
    ServerSentEvent as ServerSentEvent,
    Splitter as Splitter,
    SSEDecoder as SSEDecoder,
)
from allm.http.stream_call import (
    StreamCall as StreamCall,
    WireDecoder as WireDecoder,
    stream_events as stream_events,
)
from allm.runtime.adapters import (
    AdapterOptions as AdapterOptions,
    Companion as Companion,
    EmbeddingAdapter as EmbeddingAdapter,
    ImageAdapter as ImageAdapter,
    OutputMode as OutputMode,
    SpeechAdapter as SpeechAdapter,
    SpokenAnswer as SpokenAnswer,
    StreamAdapter as StreamAdapter,
    StreamedTranscription as StreamedTranscription,
    ToolMode as ToolMode,
    TranscriptionAdapter as TranscriptionAdapter,
    UnaryAdapter as UnaryAdapter,
)
from allm.runtime.http_adapter import (
    Adapter as Adapter,
    HttpAdapter as HttpAdapter,
    Vendor as Vendor,
    explains_settings as explains_settings,
)

if TYPE_CHECKING:
    from allm.data.embedding import EmbeddingInput as EmbeddingInput, embedding_of as embedding_of
    from allm.data.embedding_check import text_size as text_size
    from allm.data.hosted_tool import HostedForm as HostedForm, own_tools as own_tools, wire_tools as wire_tools
    from allm.data.markdown_code import code_spans as code_spans
    from allm.data.sent_media import (
        document_note as document_note,
        document_text as document_text,
        mime_type_of as mime_type_of,
        own_upload as own_upload,
    )
    from allm.data.transcript_parts import (
        as_number as as_number,
        speaker_turns as speaker_turns,
        transcription_part as transcription_part,
    )
    from allm.data.types.subset import SchemaSubset as SchemaSubset, fit_schema as fit_schema
    from allm.data.wav import wav_header as wav_header
    from allm.http.download import open_download as open_download
    from allm.http.error_body import (
        CONTEXT_OVERFLOW as CONTEXT_OVERFLOW,
        RETRYABLE_STATUS as RETRYABLE_STATUS,
        ErrorBody as ErrorBody,
        classify_error as classify_error,
        read_error_body as read_error_body,
        reason_for_status as reason_for_status,
        status_in as status_in,
        stray_error as stray_error,
    )
    from allm.http.event_frames import FrameDecoder as FrameDecoder
    from allm.http.form_fields import file_field as file_field, form_fields as form_fields
    from allm.http.json_call import (
        JsonResponse as JsonResponse,
        post_json as post_json,
        without_body as without_body,
    )
    from allm.http.jumping_clock import in_thread as in_thread
    from allm.http.retry_after import parse_retry_after as parse_retry_after
    from allm.http.vertex import VertexPlace as VertexPlace
    from allm.runtime.adapter_wrapper import (
        AdapterWrapper as AdapterWrapper,
        request_key as request_key,
        with_texts as with_texts,
    )
    from allm.runtime.batch_jobs import (
        BatchAdapter as BatchAdapter,
        BatchAnswer as BatchAnswer,
        BatchCancel as BatchCancel,
        BatchFind as BatchFind,
        BatchGet as BatchGet,
        BatchItem as BatchItem,
        BatchJob as BatchJob,
        BatchRead as BatchRead,
        BatchSubmit as BatchSubmit,
        Send as Send,
        batch_body as batch_body,
        batch_segment as batch_segment,
        read_json_lines as read_json_lines,
        send_without_answer as send_without_answer,
    )
    from allm.runtime.batches import BatchLimits as BatchLimits
    from allm.runtime.bedrock_names import foundation_model as foundation_model
    from allm.runtime.cache_store import (
        CacheCreate as CacheCreate,
        CacheDelete as CacheDelete,
        CacheGet as CacheGet,
        CacheRequest as CacheRequest,
        CacheUpdate as CacheUpdate,
        Lifetime as Lifetime,
        check_cache as check_cache,
    )
    from allm.runtime.file_store import (
        FileCall as FileCall,
        FileContent as FileContent,
        FileDelete as FileDelete,
        FileGet as FileGet,
        FileRequest as FileRequest,
        StoredFile as StoredFile,
        Upload as Upload,
        check_lifetime as check_lifetime,
        file_segment as file_segment,
        send_file_call as send_file_call,
        upload_form as upload_form,
    )
    from allm.runtime.generated import image_of_base64 as image_of_base64, image_of_url as image_of_url
    from allm.runtime.pages import Page as Page, PageRequest as PageRequest
    from allm.runtime.rankings import rerank_results as rerank_results
    from allm.runtime.spoken import one_piece as one_piece, open_audio as open_audio
    from allm.runtime.token_counting import CountCall as CountCall, post_count as post_count
    from allm.runtime.vectors import unit_vector as unit_vector, vector_of as vector_of

__all__ = [  # noqa: RUF022 - in the order of sorted()
    "Adapter",
    "AdapterOptions",
    "AdapterWrapper",
    "BEARER",
    "BatchAdapter",
    "BatchAnswer",
    "BatchCancel",
    "BatchFind",
    "BatchGet",
    "BatchItem",
    "BatchJob",
    "BatchLimits",
    "BatchRead",
    "BatchSubmit",
    "Beginning",
    "Body",
    "CONTEXT_OVERFLOW",
    "CacheCreate",
    "CacheDelete",
    "CacheGet",
    "CacheRequest",
    "CacheUpdate",
    "Classify",
    "Companion",
    "CountCall",
    "Credential",
    "EmbeddingAdapter",
    "EmbeddingInput",
    "Emit",
    "ErrorBody",
    "FileCall",
    "FileContent",
    "FileDelete",
    "FileGet",
    "FileRequest",
    "FrameDecoder",
    "HostedForm",
    "HttpAdapter",
    "HttpCall",
    "HttpResponse",
    "IMAGE_EXTENSIONS",
    "ImageAdapter",
    "JsonResponse",
    "JsonTextError",
    "KeyFunction",
    "KeyHeader",
    "KeySource",
    "Lifetime",
    "MAX_EVENT_BYTES",
    "MEDIA_TYPES",
    "MediaPart",
    "MessageBuilder",
    "OpenCall",
    "Origin",
    "OutputMode",
    "Page",
    "PageRequest",
    "Path",
    "Pieces",
    "Problem",
    "RETRYABLE_STATUS",
    "Run",
    "SSEDecoder",
    "SchemaSubset",
    "Secret",
    "Send",
    "ServerSentEvent",
    "Shape",
    "SpeechAdapter",
    "Splitter",
    "SpokenAnswer",
    "StoredFile",
    "StreamAdapter",
    "StreamCall",
    "StreamDecoder",
    "StreamedTranscription",
    "ToolMode",
    "TranscriptionAdapter",
    "UnaryAdapter",
    "UniqueIds",
    "UnusableMediaError",
    "Upload",
    "Vendor",
    "VertexPlace",
    "WireDecoder",
    "as_count",
    "as_list",
    "as_number",
    "as_object",
    "as_objects",
    "as_text",
    "base64_text",
    "batch_body",
    "batch_segment",
    "call_name",
    "call_user",
    "check_cache",
    "check_lifetime",
    "classify_error",
    "code_spans",
    "document_note",
    "document_text",
    "dumps",
    "embedding_of",
    "encoding_format",
    "explains_settings",
    "file_field",
    "file_segment",
    "finish_reason_of",
    "fit_schema",
    "form_fields",
    "foundation_model",
    "image_of_base64",
    "image_of_url",
    "in_thread",
    "is_text",
    "join_url",
    "json_body",
    "keep_encoding",
    "kept_encoding",
    "loads",
    "malformed",
    "media_of",
    "mime_type_of",
    "multipart",
    "one_piece",
    "open_audio",
    "open_call",
    "open_download",
    "own_servers",
    "own_tools",
    "own_upload",
    "parse_arguments",
    "parse_retry_after",
    "parts_of",
    "post_count",
    "post_json",
    "read_error_body",
    "read_json_lines",
    "reason_for_status",
    "refuse",
    "request_id_of",
    "request_key",
    "rerank_results",
    "results_in_place",
    "send_file_call",
    "send_without_answer",
    "shape_reader",
    "shown",
    "sniff_mime",
    "speaker_turns",
    "status_in",
    "stray_error",
    "stream_events",
    "text_size",
    "transcription_part",
    "unit_vector",
    "unsupported_fields",
    "unsupported_parts",
    "upload_form",
    "value_problem",
    "vector_of",
    "wav_header",
    "whole_text",
    "wider_shape",
    "wire_tools",
    "with_query",
    "with_texts",
    "without_body",
    "wrong_type",
]

# What a chat does not need is imported when it is first used.
_LATER = {
    "data.embedding": ("EmbeddingInput", "embedding_of"),
    "data.embedding_check": ("text_size",),
    "data.hosted_tool": ("HostedForm", "own_tools", "wire_tools"),
    "data.sent_media": ("document_note", "document_text", "mime_type_of", "own_upload"),
    "data.transcript_parts": ("as_number", "speaker_turns", "transcription_part"),
    "data.wav": ("wav_header",),
    "data.types.subset": ("SchemaSubset", "fit_schema"),
    "http.download": ("open_download",),
    "http.error_body": (
        "CONTEXT_OVERFLOW",
        "RETRYABLE_STATUS",
        "ErrorBody",
        "classify_error",
        "read_error_body",
        "reason_for_status",
        "status_in",
        "stray_error",
    ),
    "http.vertex": ("VertexPlace",),
    "http.event_frames": ("FrameDecoder",),
    "data.markdown_code": ("code_spans",),
    "http.json_call": ("JsonResponse", "post_json", "without_body"),
    "http.jumping_clock": ("in_thread",),
    "http.form_fields": ("file_field", "form_fields"),
    "http.retry_after": ("parse_retry_after",),
    "runtime.adapter_wrapper": ("AdapterWrapper", "request_key", "with_texts"),
    "runtime.batch_jobs": (
        "BatchAdapter",
        "BatchAnswer",
        "BatchCancel",
        "BatchFind",
        "BatchGet",
        "BatchItem",
        "BatchJob",
        "BatchRead",
        "BatchSubmit",
        "Send",
        "batch_body",
        "batch_segment",
        "read_json_lines",
        "send_without_answer",
    ),
    "runtime.batches": ("BatchLimits",),
    "runtime.bedrock_names": ("foundation_model",),
    "runtime.cache_store": (
        "CacheCreate",
        "CacheDelete",
        "CacheGet",
        "CacheRequest",
        "CacheUpdate",
        "Lifetime",
        "check_cache",
    ),
    "runtime.file_store": (
        "FileCall",
        "FileContent",
        "FileDelete",
        "FileGet",
        "FileRequest",
        "StoredFile",
        "Upload",
        "check_lifetime",
        "file_segment",
        "send_file_call",
        "upload_form",
    ),
    "runtime.generated": ("image_of_base64", "image_of_url"),
    "runtime.pages": ("Page", "PageRequest"),
    "runtime.token_counting": ("CountCall", "post_count"),
    "runtime.rankings": ("rerank_results",),
    "runtime.spoken": ("one_piece", "open_audio"),
    "runtime.vectors": ("unit_vector", "vector_of"),
}
_PLACES = {name: f"allm.{module}" for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(importlib.import_module(_PLACES[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
