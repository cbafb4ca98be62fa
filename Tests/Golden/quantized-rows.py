"""Writes quantized-rows.json: what other implementations make of the same rows.

The bytes of Q8_0, Q4_0 and Q4_1 come from the Python package gguf, the squared errors of Q4_K and
Q6_K from GGML's own quantisers without weights (libggml-base.so of llama-cpp-python).

Usage: quantized-rows.py LIBGGML OUTPUT
"""

import ctypes
import json
import sys

import numpy as np
from gguf import GGMLQuantizationType, quants

COLS = 512
MASK = 2**64 - 1


def numbers(seed):
    """SplitMix64, to float32 in -1 ..< 1."""
    state = seed
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & MASK
        yield np.float32((mixed ^ mixed >> 31) >> 40) / np.float32(1 << 23) - np.float32(1)


def row(seed):
    """Bell-shaped weights; for odd seeds with long tails."""
    source = numbers(seed)
    values = []
    for _ in range(COLS):
        bell = next(source) + next(source) + next(source)
        values.append((bell * bell * bell if seed % 2 else bell) / np.float32(16))
    return np.array(values, np.float32)


def ggml_error(library, kind, x):
    data = np.zeros(COLS // 256 * quants.GGML_QUANT_SIZES[kind][1], np.uint8)
    pointer = ctypes.c_void_p
    library.ggml_quantize_chunk(
        int(kind), x.ctypes.data_as(pointer), data.ctypes.data_as(pointer), ctypes.c_int64(0),
        ctypes.c_int64(1), ctypes.c_int64(COLS), None)
    back = quants.dequantize(data, kind).astype(np.float64).ravel()
    return float(((back - x.astype(np.float64)) ** 2).sum())


def main():
    library = ctypes.CDLL(sys.argv[1])
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    kinds = GGMLQuantizationType
    rows = []
    for seed in range(1, 9):
        x = row(seed)
        entry = {"seed": seed, "bytes": {}, "errors": {}}
        if seed <= 2:
            for kind in (kinds.Q8_0, kinds.Q4_0, kinds.Q4_1):
                entry["bytes"][kind.name] = quants.quantize(x, kind).tobytes().hex()
        for kind in (kinds.Q4_K, kinds.Q6_K):
            entry["errors"][kind.name] = ggml_error(library, kind, x)
        rows.append(entry)
    with open(sys.argv[2], "w") as output:
        json.dump({"cols": COLS, "rows": rows}, output, indent=1)
        output.write("\n")


main()
