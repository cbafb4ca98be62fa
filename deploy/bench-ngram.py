#!/usr/bin/env python3
"""Decoding without a draft model, beside llama.cpp's server with its n-gram speculation.

    bench-ngram.py SLIPSTREAM LLAMA_SERVER MODEL.gguf PROMPTS.jsonl [-n N] [-r N]
                    [--method METHOD] [-o FILE]

Same file, same prompts through its chat template, one thread, temperature 0. The two take turns category by
category, and the repetitions go over all categories again. The peer decodes plainly and with each
kind of n-gram speculation; what it learns stays in the server over all prompts, while ours starts
every text with empty stores. The peer's best kind counts, chosen for each prompt anew. Prints a
table; -o writes all figures as JSON.
"""
import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

KINDS = ["none", "ngram-mod", "ngram-simple", "ngram-map-k", "ngram-cache"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Peer:
    """One server with one kind of speculation."""

    def __init__(self, program: str, model: str, kind: str) -> None:
        self.address = f"http://127.0.0.1:{free_port()}"
        speculation = [] if kind == "none" else ["--spec-type", kind]
        self.process = subprocess.Popen(
            [program, "-m", model, "--port", self.address.rsplit(":", 1)[1], "-t", "1", "-tb", "1",
             "--threads-http", "2", "-np", "1", "-c", "4096", "--no-webui", *speculation],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(600):
            if self.process.poll() is not None:
                sys.exit(f"llama-server ended at its start (--spec-type {kind})")
            try:
                urllib.request.urlopen(self.address + "/health", timeout=5).close()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        sys.exit(f"llama-server does not answer (--spec-type {kind})")

    def ask(self, path: str, body: dict) -> dict:
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def speed(self, prompt: str, count: int) -> float:
        tokens = self.ask("/apply-template", {"messages": [{"role": "user", "content": prompt}]})
        answer = self.ask("/completion", {
            "prompt": tokens["prompt"], "n_predict": count, "temperature": 0,
            "cache_prompt": False})
        return answer["timings"]["predicted_per_second"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def ours(program: str, model: str, prompts: list, count: int, method: str) -> dict:
    """Tokens per second by prompt, with the method and without drafts."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps(prompt) + "\n" for prompt in prompts)
        file.flush()
        answer = subprocess.run(
            [program, "bench", "decode", "-m", model, "--prompts", file.name, "--methods", method,
             "-n", str(count), "--temp", "0", "-r", "1", "-o", "json"],
            stdout=subprocess.PIPE, check=True)
    speeds: dict = {}
    for row in json.loads(answer.stdout)["results"]:
        own = speeds.setdefault(row["prompt"], {})
        own[row["method"]] = row["tokens_per_second"]
        own["none"] = row["plain_tokens_per_second"]
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("slipstream", "llama_server", "model", "prompts"):
        parser.add_argument(name)
    parser.add_argument("-n", type=int, default=256)
    parser.add_argument("-r", type=int, default=1)
    parser.add_argument("--method", default="recycle")
    parser.add_argument("-o")
    options = parser.parse_args()
    with open(options.prompts, encoding="utf-8") as file:
        prompts = [json.loads(line) for line in file]
    categories: dict = {}
    for prompt in prompts:
        categories.setdefault(prompt["category"], []).append(prompt)

    peers = {kind: Peer(options.llama_server, options.model, kind) for kind in KINDS}
    figures: dict = {}  # prompt -> side -> speeds
    try:
        for _ in range(options.r):
            for group in categories.values():
                for prompt in group:
                    sides = figures.setdefault(prompt["id"], {})
                    for kind, peer in peers.items():
                        speed = peer.speed(prompt["turns"][0], options.n)
                        sides.setdefault("llama.cpp " + kind, []).append(speed)
                measured = ours(
                    options.slipstream, options.model, group, options.n, options.method)
                for number, speeds in measured.items():
                    for method, speed in speeds.items():
                        figures[number].setdefault("slipstream " + method, []).append(speed)
    finally:
        for peer in peers.values():
            peer.stop()

    def speed(number: int, side: str) -> float:
        return statistics.median(figures[number][side])

    def best_peer(number: int) -> float:
        return max(speed(number, "llama.cpp " + kind) for kind in KINDS)

    sides = sorted(next(iter(figures.values())))
    print(f"{'category':<18}" + "".join(f"{side:>24}" for side in sides) + f"{'best':>12}")
    own_side = "slipstream " + options.method
    summary = {}
    for category, group in categories.items():
        numbers = [prompt["id"] for prompt in group]
        means = [statistics.mean(speed(number, side) for number in numbers) for side in sides]
        ratio = statistics.mean(
            speed(number, own_side) / best_peer(number) for number in numbers)
        summary[category] = ratio
        print(f"{category:<18}" + "".join(f"{mean:>24.1f}" for mean in means) + f"{ratio:>11.2f}x")
    own = {
        kind: statistics.mean(
            speed(number, "llama.cpp " + kind) / speed(number, "llama.cpp none")
            for number in figures)
        for kind in KINDS}
    every = [speed(number, own_side) / best_peer(number) for number in figures]
    print(f"\ntokens/s over those of llama.cpp's best kind, prompt by prompt: mean "
          f"{statistics.mean(every):.2f}, median {statistics.median(every):.2f}, worst category "
          f"{min(summary.values()):.2f}, least {min(every):.2f}")
    print("llama.cpp over its own plain decoding: "
          + ", ".join(f"{kind} {value:.2f}" for kind, value in own.items() if kind != "none"))
    if options.o:
        with open(options.o, "w", encoding="utf-8") as file:
            json.dump({"prompts": figures, "categories": summary, "mean": statistics.mean(every),
                       "own": own}, file, indent=1)


if __name__ == "__main__":
    main()
