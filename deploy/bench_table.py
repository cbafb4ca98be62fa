#!/usr/bin/env python3
"""Prints the summaries of `slipstream bench decode -o json` as rows of a Markdown table.

    bench_table.py FILE.json ...

A row: method or pipeline, mean and median speed-up, the worst category and which it is, least and most,
tokens per step, and what else the file tells.
"""
import json
import sys


def main(paths: list) -> None:
    for path in paths:
        with open(path, encoding="utf-8") as file:
            report = json.load(file)
        for summary in report["summaries"]:
            speed = summary["speedup"]
            worst = min(speed["categories"], key=speed["categories"].get)
            cells = [
                summary.get("method") or summary["pipeline"], f"{speed['mean']:.2f}",
                f"{speed['median']:.2f}", f"{speed['worst_category']:.2f} ({worst})",
                f"{speed['least']:.2f}", f"{speed['most']:.2f}",
                f"{summary['tokens_per_step']:.2f}", f"{100 * summary['planner_error']:.0f} %"]
            if "pipeline" in summary:
                cells += [f"{summary['bytes_per_token']:.0f}",
                          f"{report['two_process_scaling']:.2f}",
                          f"{report['two_thread_reading']:.2f}"]
            print("| " + " | ".join(cells) + " |")
            print("  " + ", ".join(
                f"{name} {value:.2f}" for name, value in sorted(speed["categories"].items())))
            for source in summary["sources"]:
                share = ", ".join(
                    "-" if value is None else f"{value:.2f}"
                    for value in source["acceptance_by_position"][:8])
                print(f"  {source['source']}: {source['accepted']} of {source['drafted']} right; "
                      f"by position {share}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
