"""Writes rows.txt: random rows of every quantised format and their values.

Usage: pip install gguf numpy; python generate.py > rows.txt

Each line: name of the format, the bytes of the row, its values as the bits of 32-bit floats, both
in hexadecimal. Scales are random bits too, so values of all magnitudes occur.
"""

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

FORMATS = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]
FORMATS += ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"]
SEED = 20261121
ROWS = 2
WEIGHTS = 256

random = numpy.random.default_rng(SEED)
numpy.seterr(all="ignore")
for name in FORMATS:
    kind = GGMLQuantizationType[name]
    block_length, block_bytes = GGML_QUANT_SIZES[kind]
    for _ in range(ROWS):
        row = random.integers(0, 256, WEIGHTS // block_length * block_bytes, dtype=numpy.uint8)
        values = quants.dequantize(row, kind).astype(numpy.float32).ravel()
        bits = "".join(f"{value:08x}" for value in values.view(numpy.uint32))
        print(name, row.tobytes().hex(), bits)
