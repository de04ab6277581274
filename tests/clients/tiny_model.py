"""A real model server for tests: llama.cpp's own, before a tiny model made here whose weights are known.

    python tiny_model.py DIRECTORY

prints one line of JSON with its address and serves until it is told to stop. Run by the clients' interpreter: needs
`xllamacpp` and `gguf`. The model is a llama whose output layer maps each word of SENTENCE to the next one, so it
says that sentence whatever it is asked, at any temperature. Past its end (`ignore_eos`) it goes on at random, at
some hundred tokens a second, for as many as the context holds.
"""

import itertools
import json
import signal
import socket
import sys
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

NAME = "tiny-chain"
SENTENCE = "Hello from a tiny local model . It runs real inference with known weights and then it stops"
CONTEXT = 8192
SLOTS = 2
# Large enough to take some milliseconds a token.
WIDTH, LAYERS, HEADS, INNER = 512, 6, 8, 1024
MESSAGES = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
TEMPLATE = f"{MESSAGES}{{% if add_generation_prompt %}}assistant:{{% endif %}}"


def write_model(path: Path) -> None:
    """Write the model: special tokens, all bytes, and a token for each word."""
    words = [f"\u2581{word}" for word in SENTENCE.split()]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    kind = gguf.TokenType
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(NAME)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 3 + [-1000.0] * 256 + [-10.0] * len(words))
    writer.add_token_types([kind.UNKNOWN, kind.CONTROL, kind.CONTROL] + [kind.BYTE] * 256 + [kind.NORMAL] * len(words))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    _add_weights(writer, len(tokens), [3 + ord(":"), *range(259, len(tokens)), 2])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_weights(writer: gguf.GGUFWriter, vocabulary: int, chain: list[int]) -> None:
    random = np.random.default_rng(7)

    def noise(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    embedding = noise(vocabulary, WIDTH)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    head = np.zeros((vocabulary, WIDTH), np.float32)
    for token, following in itertools.pairwise(chain):
        head[following] += embedding[token] * 40 / np.sqrt(WIDTH)  # the norm before it makes |h| = sqrt(WIDTH)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", head)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    shapes = {
        **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (WIDTH, WIDTH)),
        "ffn_gate": (INNER, WIDTH),
        "ffn_up": (INNER, WIDTH),
        "ffn_down": (WIDTH, INNER),
    }
    for layer in range(LAYERS):
        for name, shape in shapes.items():
            # What a layer adds is too little to change which word comes next.
            scale = 0.001 if name in ("attn_output", "ffn_down") else 0.02
            writer.add_tensor(f"blk.{layer}.{name}.weight", noise(*shape) * np.float32(scale))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(WIDTH, np.float32))


def main() -> None:
    path = Path(sys.argv[1]) / "tiny.gguf"
    write_model(path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {NAME}
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = SLOTS
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = port
    server = xllamacpp.Server(parameters)
    sys.stdout.write(json.dumps({"base_url": f"{server.listening_address}/v1", "model": NAME}) + "\n")
    sys.stdout.flush()
    signal.sigwait([signal.SIGINT, signal.SIGTERM])


if __name__ == "__main__":
    main()
