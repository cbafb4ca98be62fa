#!/usr/bin/env python3
"""Makes the models that `deploy/bench-engine.sh` measures with.

    bench_models.py float SOURCE.gguf OUT.gguf F16|BF16    the same weights as floats
    bench_models.py wide SOURCE.gguf OUT.gguf              random weights in F16, all rows divisible
                                                           by 256, the tokenizer of SOURCE
    bench_models.py deep SOURCE.gguf OUT.gguf TIMES        TIMES as many layers of the same sizes;
                                                           the new ones add nothing to the result

The architecture of SOURCE is llama. Needs the packages gguf and numpy.
"""
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize, quantize

WIDTH, INNER, LAYERS, HEADS, SHARED_HEADS, HEAD_LENGTH = 768, 2048, 30, 12, 4, 64


def copy_metadata(reader: GGUFReader, writer: GGUFWriter, changes: dict) -> None:
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value, kind = changes.get(key, field.contents()), field.types[0]
        if kind == GGUFValueType.ARRAY:
            writer.add_key_value(key, value, kind, sub_type=field.types[-1])
        else:
            writer.add_key_value(key, value, kind)


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_float(source: str, out: str, kind: str) -> None:
    reader, writer = GGUFReader(source), GGUFWriter(out, "llama")
    copy_metadata(reader, writer, {"general.file_type": 1 if kind == "F16" else 32})
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1].tolist())
        wanted = GGMLQuantizationType[kind] if values.ndim > 1 else GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, quantize(values.astype(np.float32), wanted), raw_dtype=wanted)
    finish(writer)


def make_wide(source: str, out: str) -> None:
    reader, writer = GGUFReader(source), GGUFWriter(out, "llama")
    sizes = {
        "block_count": LAYERS,
        "embedding_length": WIDTH,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": SHARED_HEADS,
        "rope.dimension_count": HEAD_LENGTH,
    }
    changes = {f"llama.{key}": value for key, value in sizes.items()}
    copy_metadata(reader, writer, changes | {"general.file_type": 1})
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].data)
    random = np.random.default_rng(1)

    def matrix(name: str, rows: int, cols: int) -> None:
        values = random.standard_normal((rows, cols), dtype=np.float32) / np.sqrt(cols)
        writer.add_tensor(f"{name}.weight", values.astype(np.float16))

    def norm(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, dtype=np.float32))

    matrix("token_embd", vocabulary, WIDTH)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        norm(f"{block}.attn_norm")
        matrix(f"{block}.attn_q", HEADS * HEAD_LENGTH, WIDTH)
        matrix(f"{block}.attn_k", SHARED_HEADS * HEAD_LENGTH, WIDTH)
        matrix(f"{block}.attn_v", SHARED_HEADS * HEAD_LENGTH, WIDTH)
        matrix(f"{block}.attn_output", WIDTH, HEADS * HEAD_LENGTH)
        norm(f"{block}.ffn_norm")
        matrix(f"{block}.ffn_gate", INNER, WIDTH)
        matrix(f"{block}.ffn_up", INNER, WIDTH)
        matrix(f"{block}.ffn_down", WIDTH, INNER)
    norm("output_norm")
    finish(writer)


def make_deep(source: str, out: str, times: int) -> None:
    reader, writer = GGUFReader(source), GGUFWriter(out, "llama")
    count = reader.fields["llama.block_count"].contents()
    copy_metadata(reader, writer, {"llama.block_count": count * times})
    for tensor in reader.tensors:
        if not tensor.name.startswith("blk."):
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        _, layer, rest = tensor.name.split(".", 2)
        for copy in range(times):
            adds = copy == 0 or rest not in ("attn_output.weight", "ffn_down.weight")
            data = tensor.data if adds else np.zeros_like(tensor.data)
            name = f"blk.{int(layer) * times + copy}.{rest}"
            writer.add_tensor(name, data, raw_dtype=tensor.tensor_type)
    finish(writer)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["float", source, out, ("F16" | "BF16") as kind]:
            make_float(source, out, kind)
        case ["wide", source, out]:
            make_wide(source, out)
        case ["deep", source, out, times]:
            make_deep(source, out, int(times))
        case _:
            sys.exit(__doc__)
