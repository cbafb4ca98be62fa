#!/usr/bin/env python3
"""Times llama.cpp for `slipstream bench engine --compare llamacpp`.

    peer_llamacpp.py MODEL.gguf THREADS [CONTEXT]

Prints one line that says what it is, then answers each line ppN, tgN, vN or dN (a prompt of N
tokens, N tokens decoded one by one, one batch of N tokens with all logits after 32 others, 8 tokens
decoded one by one after N others) with the seconds that took, and the line rss with the most bytes
it had resident, now and before the model was loaded. Same tokens and same limits as our own side.
"""
import ctypes
import sys
import time

import llama_cpp as lib


def peak_bytes() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))


def main(path: str, threads: int, length: int) -> None:
    quiet = lib.llama_log_callback(lambda level, text, data: None)
    lib.llama_log_set(quiet, ctypes.c_void_p(0))
    lib.llama_backend_init()
    before_loading = peak_bytes()
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    if not model:
        sys.exit(f"llama.cpp cannot load {path}")
    params = lib.llama_context_default_params()
    params.n_ctx = length
    params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = threads
    context = lib.llama_init_from_model(model, params)
    memory = lib.llama_get_memory(context)
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def token(index: int) -> int:
        return (index * 7919 + 300) % vocabulary

    def decode(first: int, count: int, all_logits: bool) -> None:
        batch = lib.llama_batch_init(count, 0, 1)
        batch.n_tokens = count
        for i in range(count):
            batch.token[i] = token(first + i)
            batch.pos[i] = first + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = all_logits or i == count - 1
        status = lib.llama_decode(context, batch)
        lib.llama_synchronize(context)
        lib.llama_batch_free(batch)
        if status != 0:
            sys.exit(f"llama_decode: {status}")

    print(f"llama-cpp-python {lib.__version__}", flush=True)
    # Positions in the memory that the last request left there; -1 where they are not a prompt.
    kept = -1
    for line in sys.stdin:
        request = line.strip()
        if request == "rss":
            print(peak_bytes(), before_loading, flush=True)
            continue
        kind, count = request.rstrip("0123456789"), int(request.lstrip("abcdefghijklmnopqrstuvwxyz"))
        if kind == "d" and 0 <= kept <= count:
            prepared = kept
        else:
            lib.llama_memory_clear(memory, True)
            prepared = 0
        kept = -1
        if kind == "d":
            for first in range(prepared, count, 512):
                decode(first, min(512, count - first), False)
        elif kind == "v":
            decode(0, 32, False)
        elif kind == "tg":
            decode(0, 1, False)
        start = time.perf_counter()
        if kind == "pp":
            for first in range(0, count, 512):
                decode(first, min(512, count - first), False)
        elif kind == "tg":
            for index in range(1, count + 1):
                decode(index, 1, True)
        elif kind == "d":
            for index in range(count, count + 8):
                decode(index, 1, True)
        else:
            decode(32, count, True)
        print(time.perf_counter() - start, flush=True)
        if kind == "d" and lib.llama_memory_seq_rm(memory, 0, count, -1):
            kept = count


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) == 4 else 2048)
