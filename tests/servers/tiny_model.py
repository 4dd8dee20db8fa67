"""A language model small enough for a test to write: a table of which token follows which, as a GGUF file.

llama.cpp runs it like any other model. Its only transformer block has zero weights, so it adds nothing to the residual
stream: the output matrix sees the last token's embedding, a unit vector, and its columns are the scores of the next
token. The model has no memory beyond one token, always says `SENTENCE`, and calls a tool when the prompt ends in a
colon, which the chat template puts there; the server's grammar then forces valid arguments, whose letters come from a
little noise in the table.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import attrs
import gguf
import numpy as np

SENTENCE = ["Good", " day", " from", " a", " very", " small", " model", " in", " Zürich", " ", "🎈", "."]
SAID = "".join(SENTENCE)
CONTEXT = 2048  # tokens

STRONG = 30.0  # score of the token that follows; the noise stays below 3
WIDTH = 320  # of an embedding: at least the number of tokens
NARROW = 32  # of the block without effect
HEADS = 4
TEMPLATE = Path(__file__).with_suffix(".jinja")


def shown_bytes() -> list[str]:
    """Map each byte to its character in GPT-2's vocabulary: itself if printable, else one from 256 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    replacements = itertools.count(0x100)
    return [chr(byte if byte in printable else next(replacements)) for byte in range(0x100)]


@attrs.define
class Vocabulary:
    """The vocabulary: single bytes first, then our own words and control tokens."""

    tokens: list[str] = attrs.field(factory=shown_bytes)
    types: list[int] = attrs.field(factory=lambda: [gguf.TokenType.NORMAL] * 0x100)

    def word(self, text: str) -> int:
        """Add a token for a whole word."""
        shown = shown_bytes()
        return self._add("".join(shown[byte] for byte in text.encode()), gguf.TokenType.NORMAL)

    def control(self, text: str) -> int:
        """Add a control token."""
        return self._add(text, gguf.TokenType.CONTROL)

    def _add(self, token: str, kind: gguf.TokenType) -> int:
        self.tokens.append(token)
        self.types.append(kind)
        return len(self.tokens) - 1


def scores(vocabulary: Vocabulary, end: int, start: int) -> np.ndarray:
    """The table: row = next token, column = last token."""
    table = np.zeros((len(vocabulary.tokens), WIDTH), np.float32)
    letters = range(ord("a"), ord("z") + 1)
    noise = np.random.default_rng(0)
    table[letters, :] = noise.uniform(0, 3, (len(letters), WIDTH))
    table[ord('"'), :] = 5  # a string of free text ends soon
    table[start, :] = -50

    chain: list[int] = [ord("\n")]
    for word in SENTENCE:
        # Characters without a token of their own stay bytes: the server has to assemble the emoji.
        chain += list(word.encode()) if len(word) == 1 else [vocabulary.word(word)]
    assert len(set(chain)) == len(chain), "a token with two successors"
    call, call_end = vocabulary.word("<tool_call>"), vocabulary.word("</tool_call>")
    follows = [
        *itertools.pairwise([*chain, end]),
        (ord(":"), call),
        (call, ord("\n")),
        (call_end, end),
        (ord(">"), end),
    ]
    table = np.vstack([table, np.zeros((len(vocabulary.tokens) - len(table), WIDTH), np.float32)])
    for last, following in follows:
        table[following, last] = STRONG
    return table / math.sqrt(WIDTH)  # the normalisation before the output multiplies a unit vector with that


def write(path: Path) -> Path:
    """Write the model file, 2 MB."""
    vocabulary = Vocabulary()
    start, end = vocabulary.control("<|im_start|>"), vocabulary.control("<|im_end|>")
    output = scores(vocabulary, end, start)
    model = gguf.GGUFWriter(path, "llama")
    model.add_name("tiny")
    model.add_context_length(CONTEXT)
    model.add_embedding_length(WIDTH)
    model.add_block_count(1)
    model.add_feed_forward_length(NARROW)
    model.add_head_count(HEADS)
    model.add_head_count_kv(HEADS)
    model.add_rope_dimension_count(WIDTH // HEADS)
    model.add_layer_norm_rms_eps(1e-6)
    model.add_vocab_size(len(vocabulary.tokens))
    model.add_file_type(gguf.LlamaFileType.ALL_F32)
    model.add_tokenizer_model("gpt2")
    model.add_tokenizer_pre("gpt-2")
    model.add_token_list(vocabulary.tokens)
    model.add_token_types(vocabulary.types)
    model.add_token_merges(["Ġ Ġ"])  # the key is required; this merge does not affect the vocabulary
    model.add_bos_token_id(start)
    model.add_add_bos_token(False)  # noqa: FBT003 - their signature
    model.add_eos_token_id(end)
    model.add_chat_template(TEMPLATE.read_text("utf-8"))
    for name, weights in tensors(output).items():
        model.add_tensor(f"{name}.weight", weights)
    model.write_header_to_file()
    model.write_kv_data_to_file()
    model.write_tensors_to_file()
    model.close()
    return path


def tensors(output: np.ndarray) -> dict[str, np.ndarray]:
    """The weights, by name."""
    shapes = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {"ffn_gate": (NARROW, WIDTH), "ffn_up": (NARROW, WIDTH), "ffn_down": (WIDTH, NARROW)}
    block = {f"blk.0.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    norms = {name: np.ones(WIDTH, np.float32) for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")}
    embeddings = np.eye(len(output), WIDTH, dtype=np.float32)
    return {"token_embd": embeddings, "output": output, **norms, **block}
