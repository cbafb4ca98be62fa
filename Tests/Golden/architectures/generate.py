#!/usr/bin/env python3
"""Writes the tiny models of this folder, each with its golden logits.

Every file is a random model of one architecture that fits the engine's loader, and carries as
metadata a text (`golden.tokens`) and the logits of all its positions (`golden.logits`, row-major).
The logits come from the float64 forward pass below, written from the published definitions: the
papers, the models' reference code and the meaning of the GGUF keys.

Usage: generate.py [folder]          needs the packages `gguf` and `numpy`
Where `llama_cpp` can be imported too, its logits for the same weights are compared and the largest
difference is printed.
"""

import ctypes
import math
import os
import sys
import tempfile

import gguf
import numpy as np

VOCABULARY = 96
WIDTH = 64
INNER = 32
TOKENS = 32


class Tiny:
    """One model: settings, then tensors, then the forward pass."""

    def __init__(self, name, architecture, seed, **settings):
        self.name, self.architecture = name, architecture
        self.random = np.random.default_rng(seed)
        defaults = dict(
            layers=2, heads=4, kv_heads=2, head=16, rotated=None, context=64, base=10000.0,
            tied=False, biases=(), head_norms=False, post_norms=False, fused=False, halves=True,
            gelu=False, embedding_scale=1.0, window=None, period=0, local_base=None,
            attention_cap=0.0, final_cap=0.0, epsilon=1e-5, scaling=None, peer_has_window=True, keys={})
        for key, value in (defaults | settings).items():
            setattr(self, key, value)
        self.rotated = self.rotated or self.head
        self.tensors = {}
        self.make_tensors()

    # MARK: weights, rounded to half precision as they are stored

    def matrix(self, name, rows, cols, deviation=0.2):
        values = self.random.normal(0, deviation, (rows, cols))
        self.tensors[name] = values.astype(np.float16)

    def vector(self, name, count, mean=1.0, deviation=0.2):
        self.tensors[name] = self.random.normal(mean, deviation, count).astype(np.float32)

    def linear(self, name, rows, cols):
        self.matrix(name + ".weight", rows, cols)
        if name.split(".")[-1] in self.biases:
            self.vector(name + ".bias", rows, 0.0, 0.5)

    def make_tensors(self):
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        self.matrix("token_embd.weight", VOCABULARY, WIDTH, 0.3)
        for layer in range(self.layers):
            block = f"blk.{layer}."
            self.vector(block + "attn_norm.weight", WIDTH)
            if self.fused:
                self.linear(block + "attn_qkv", queries + 2 * keys, WIDTH)
            else:
                self.linear(block + "attn_q", queries, WIDTH)
                self.linear(block + "attn_k", keys, WIDTH)
                self.linear(block + "attn_v", keys, WIDTH)
            if self.head_norms:
                self.vector(block + "attn_q_norm.weight", self.head)
                self.vector(block + "attn_k_norm.weight", self.head)
            self.linear(block + "attn_output", WIDTH, queries)
            if self.post_norms:
                self.vector(block + "post_attention_norm.weight", WIDTH)
            self.vector(block + "ffn_norm.weight", WIDTH)
            if self.fused:
                self.linear(block + "ffn_up", 2 * INNER, WIDTH)
            else:
                self.linear(block + "ffn_gate", INNER, WIDTH)
                self.linear(block + "ffn_up", INNER, WIDTH)
            self.linear(block + "ffn_down", WIDTH, INNER)
            if self.post_norms:
                self.vector(block + "post_ffw_norm.weight", WIDTH)
        self.vector("output_norm.weight", WIDTH)
        if not self.tied:
            self.matrix("output.weight", VOCABULARY, WIDTH)
        pairs = self.rotated // 2
        if self.scaling == "llama3":
            # Slow pairs turn eight times slower, fast ones stay: as Llama 3.1 has it.
            divisors = 1 + 7 * np.linspace(0, 1, pairs)
            self.tensors["rope_freqs.weight"] = divisors.astype(np.float32)
        if self.scaling == "longrope":
            short = np.linspace(1, 1.5, pairs).astype(np.float32)
            long = np.linspace(1.1, 6, pairs).astype(np.float32)
            self.tensors["rope_factors_short.weight"] = short
            self.tensors["rope_factors_long.weight"] = long

    def weight(self, name):
        return self.tensors[name].astype(np.float64)

    # MARK: reference

    def frequencies(self, is_local):
        """Radians per position of each pair, and the factor on cosines and sines."""
        base = self.local_base if is_local and self.local_base else self.base
        count = self.rotated
        turn = base ** (-np.arange(0, count, 2) / count)
        if is_local and self.local_base:
            return turn, 1.0
        factor = self.keys.get("rope.scaling.factor", 1.0)
        magnitude = self.keys.get("rope.scaling.attn_factor", 1.0)
        if self.scaling == "linear":
            return turn / factor, magnitude
        if self.scaling == "llama3":
            return turn / self.weight("rope_freqs.weight"), magnitude
        if self.scaling == "longrope":
            original = self.keys["rope.scaling.original_context_length"]
            which = "long" if self.context > original else "short"
            return turn / self.weight(f"rope_factors_{which}.weight"), magnitude
        if self.scaling == "yarn":
            # YaRN, arXiv:2309.00071: pairs that turn often stay, the slow ones are interpolated.
            original = self.keys["rope.scaling.original_context_length"]

            def pair_of(turns):
                return count * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

            low = max(0, math.floor(pair_of(32)))
            high = min(count - 1, math.ceil(pair_of(1)))
            ramp = np.clip((np.arange(count // 2) - low) / max(high - low, 0.001), 0, 1)
            turn = turn / factor * ramp + turn * (1 - ramp)
            return turn, magnitude * (0.1 * math.log(factor) + 1)
        return turn, magnitude

    def rotate(self, x, is_local):
        """x[position, head, length]"""
        turn, magnitude = self.frequencies(is_local)
        angles = np.arange(len(x))[:, None] * turn
        cosines = (np.cos(angles) * magnitude)[:, None, :]
        sines = (np.sin(angles) * magnitude)[:, None, :]
        pairs = self.rotated // 2
        if self.halves:
            first, second = slice(0, pairs), slice(pairs, 2 * pairs)
        else:
            first, second = slice(0, 2 * pairs, 2), slice(1, 2 * pairs, 2)
        out = x.copy()
        out[..., first] = x[..., first] * cosines - x[..., second] * sines
        out[..., second] = x[..., first] * sines + x[..., second] * cosines
        return out

    def norm(self, x, name):
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon)
        return x / scale * self.weight(name)

    def apply(self, x, name):
        out = x @ self.weight(name + ".weight").T
        return out + self.weight(name + ".bias") if name + ".bias" in self.tensors else out

    def is_windowed(self, layer):
        if not self.window:
            return False
        return self.period == 0 or layer % self.period < self.period - 1

    def attend(self, x, layer):
        block, count = f"blk.{layer}.", len(x)
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        if self.fused:
            q, k, v = np.split(
                self.apply(x, block + "attn_qkv"), [queries, queries + keys], axis=-1)
        else:
            q, k, v = (self.apply(x, block + "attn_" + part) for part in "qkv")
        q = q.reshape(count, self.heads, self.head)
        k = k.reshape(count, self.kv_heads, self.head)
        v = v.reshape(count, self.kv_heads, self.head)
        if self.head_norms:
            q = self.norm(q, block + "attn_q_norm.weight")
            k = self.norm(k, block + "attn_k_norm.weight")
        q = self.rotate(q, self.is_windowed(layer))
        k = self.rotate(k, self.is_windowed(layer))
        distance = np.arange(count)[:, None] - np.arange(count)[None, :]
        visible = distance >= 0
        if self.is_windowed(layer):
            visible &= distance < self.window
        out = np.zeros_like(q)
        for head in range(self.heads):
            shared = head * self.kv_heads // self.heads
            scores = q[:, head] @ k[:, shared].T / math.sqrt(self.head)
            if self.attention_cap:
                scores = self.attention_cap * np.tanh(scores / self.attention_cap)
            scores = np.where(visible, scores, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = weights / weights.sum(-1, keepdims=True) @ v[:, shared]
        return self.apply(out.reshape(count, queries), block + "attn_output")

    def feed_forward(self, x, layer, as_peer):
        block = f"blk.{layer}."
        up = self.apply(x, block + "ffn_up")
        if self.fused:
            gate, up = np.split(up, 2, axis=-1)
        else:
            gate = self.apply(x, block + "ffn_gate")
        if self.gelu:
            if as_peer:
                # llama.cpp looks this function up in a table of half-precision numbers.
                gate = gate.astype(np.float16).astype(np.float64)
            inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
            gate = 0.5 * gate * (1 + np.tanh(inner))
            if as_peer:
                gate = gate.astype(np.float16).astype(np.float64)
        else:
            gate = gate / (1 + np.exp(-gate))
        return self.apply(gate * up, block + "ffn_down")

    def logits(self, tokens, as_peer=False):
        """`as_peer` departs from the definition where llama.cpp does."""
        x = self.weight("token_embd.weight")[tokens] * self.embedding_scale
        for layer in range(self.layers):
            block = f"blk.{layer}."
            update = self.attend(self.norm(x, block + "attn_norm.weight"), layer)
            if self.post_norms:
                update = self.norm(update, block + "post_attention_norm.weight")
            x = x + update
            update = self.feed_forward(
                self.norm(x, block + "ffn_norm.weight"), layer, as_peer)
            if self.post_norms:
                update = self.norm(update, block + "post_ffw_norm.weight")
            x = x + update
        x = self.norm(x, "output_norm.weight")
        rows = x @ self.weight("token_embd.weight" if self.tied else "output.weight").T
        return self.final_cap * np.tanh(rows / self.final_cap) if self.final_cap else rows

    # MARK: files

    def write(self, path, golden=None, wide=False):
        writer = gguf.GGUFWriter(path, self.architecture)
        prefix = self.architecture + "."
        writer.add_block_count(self.layers)
        writer.add_context_length(self.context)
        writer.add_embedding_length(WIDTH)
        writer.add_feed_forward_length(INNER)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        if self.head * self.heads != WIDTH or self.architecture.startswith("gemma"):
            writer.add_key_length(self.head)
            writer.add_value_length(self.head)
        writer.add_layer_norm_rms_eps(self.epsilon)
        writer.add_rope_freq_base(self.base)
        if self.architecture in ("llama", "phi3"):
            writer.add_rope_dimension_count(self.rotated)
        writer.add_vocab_size(VOCABULARY)
        if self.window is not None:
            writer.add_sliding_window(self.window)
        for key, value in self.keys.items():
            if isinstance(value, str):
                writer.add_string(prefix + key, value)
            elif isinstance(value, int):
                writer.add_uint32(prefix + key, value)
            else:
                writer.add_float32(prefix + key, value)
        writer.add_tokenizer_model("no_vocab")
        if golden is not None:
            tokens, logits = golden
            writer.add_array("golden.tokens", [int(token) for token in tokens])
            writer.add_array("golden.logits", [float(x) for x in logits.astype(np.float32).flat])
        for name, values in self.tensors.items():
            writer.add_tensor(name, values.astype(np.float32) if wide else values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def models():
    llama3 = 500000.0
    long = dict(scaling="longrope", fused=True)
    gemma = dict(gelu=True, post_norms=True, tied=True, embedding_scale=math.sqrt(WIDTH),
                 head=24, window=8, epsilon=1e-6)
    every_bias = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    input_biases = ("attn_q", "attn_k", "attn_v")
    return [
        Tiny("llama", "llama", 1, halves=False),
        Tiny("llama-linear-tied-biases", "llama", 2, halves=False, tied=True, biases=every_bias,
             scaling="linear",
             keys={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
        Tiny("llama-3.1", "llama", 3, halves=False, base=llama3, scaling="llama3"),
        Tiny("llama-yarn", "llama", 4, halves=False, scaling="yarn",
             keys={"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0,
                   "rope.scaling.original_context_length": 16}),
        # llama.cpp does not read this key for this architecture.
        Tiny("mistral-window", "llama", 5, halves=False, window=8, peer_has_window=False),
        Tiny("qwen2", "qwen2", 7, biases=input_biases, base=1e6, tied=True, kv_heads=1),
        Tiny("qwen3", "qwen3", 8, head_norms=True, head=32, heads=3, kv_heads=1, tied=True,
             base=1e6),
        Tiny("gemma2", "gemma2", 9, **gemma, layers=3, period=2, attention_cap=5.0,
             final_cap=10.0, keys={"attn_logit_softcapping": 5.0,
                                   "final_logit_softcapping": 10.0}),
        Tiny("gemma3", "gemma3", 10, **gemma, layers=7, heads=2, kv_heads=1, period=6, base=1e6,
             local_base=10000.0, head_norms=True, scaling="linear",
             keys={"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
        Tiny("phi3-long", "phi3", 11, **long,
             keys={"rope.scaling.original_context_length": 16,
                   "rope.scaling.attn_factor": math.sqrt(1 + math.log(4) / math.log(16))}),
        # llama.cpp switches the window of this architecture off.
        Tiny("phi3-short-window", "phi3", 12, **long, context=256, rotated=12, tied=True,
             window=8, peer_has_window=False,
             keys={"rope.scaling.original_context_length": 256,
                   "rope.scaling.attn_factor": 1.19}),
    ]


def peer_logits(path, tokens):
    """llama.cpp's logits of every position, keys and values in single precision."""
    import llama_cpp

    parameters = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        raise RuntimeError(f"llama.cpp does not load {path}")
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = 256, 64, 64
    parameters.type_k = parameters.type_v = llama_cpp.GGML_TYPE_F32
    parameters.flash_attn_type = 0
    parameters.n_threads = parameters.n_threads_batch = 1
    context = llama_cpp.llama_init_from_model(model, parameters)
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index], batch.logits[index] = int(token), index, True
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
    if llama_cpp.llama_decode(context, batch) != 0:
        raise RuntimeError("llama_decode failed")
    rows = [
        np.ctypeslib.as_array(
            ctypes.cast(llama_cpp.llama_get_logits_ith(context, index),
                        ctypes.POINTER(ctypes.c_float)), (VOCABULARY,)).copy()
        for index in range(len(tokens))
    ]
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return np.array(rows)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    try:
        import llama_cpp  # noqa: F401
        has_peer = True
    except ImportError:
        has_peer = False
    for model in models():
        tokens = model.random.integers(0, VOCABULARY, TOKENS)
        logits = model.logits(tokens)
        path = os.path.join(folder, model.name + ".gguf")
        model.write(path, golden=(tokens, logits))
        line = f"{model.name}: {os.path.getsize(path)} bytes, largest logit {abs(logits).max():.3f}"
        if has_peer:
            if not model.peer_has_window:
                model.window = None
                line += ", without the window"
            with tempfile.TemporaryDirectory() as scratch:
                wide = os.path.join(scratch, "wide.gguf")
                model.write(wide, wide=True)
                theirs = peer_logits(wide, tokens)
            difference = abs(theirs - model.logits(tokens, as_peer=True)).max()
            line += f" llama.cpp differs by {difference:.2e}"
        print(line)


if __name__ == "__main__":
    main()
