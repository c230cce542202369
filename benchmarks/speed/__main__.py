"""Times MBPO's work and prints each piece's share of the limit: `python -m benchmarks.speed --out results/mine.json`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from benchmarks.speed import memory, overhead, quality
from benchmarks.speed.cases import PLAIN, PLANNED, all_cases
from benchmarks.speed.growth import growth_rows, show_growth
from benchmarks.speed.machine import has_bf16, machine
from benchmarks.speed.rounds import Case, measure, ratio, share_of_limit


def summary(cases: list[Case]) -> list[dict[str, Any]]:
    """One row per case."""
    by_name = {case.name: case for case in cases}
    rows = []
    for case in cases:
        limit = by_name[case.limit]
        rows.append(
            {
                "name": case.name,
                "rate": case.rate,
                "unit": case.unit,
                "ms": 1e3 / case.rate,
                "gflops": case.flops * case.rate / 1e9 if case.flops else None,
                "share_of_limit": share_of_limit(case, limit) if case.flops else None,
                "limit_rate": limit.flops * limit.rate / case.flops if case.flops else None,
            }
        )
    return rows


def ratios(cases: list[Case]) -> dict[str, float]:
    """Ratios between the table's rows, medians over the rounds."""
    by_name = {case.name: case for case in cases}
    pairs = {
        "SAC update over Stable-Baselines3's": ("SAC update fp32", "Stable-Baselines3's SAC update"),
        "bf16 over fp32, matmul": ("matmul bf16", "matmul fp32"),
        "bf16 over fp32, ensemble update": ("ensemble update bf16", "ensemble update fp32"),
        "bf16 over fp32, SAC update": ("SAC update bf16", "SAC update fp32"),
    }
    found = {name: ratio(by_name[a], by_name[b]) for name, (a, b) in pairs.items() if a in by_name and b in by_name}
    if PLAIN in by_name and PLANNED in by_name:
        plain, planned = by_name[PLAIN], by_name[PLANNED]
        found["UP-MPC's time over a plain rollout step's"] = ratio(plain, planned)
        found["that over the two's operations"] = ratio(plain, planned) * plain.flops / planned.flops
    return found


def show(result: dict[str, Any]) -> None:
    """Prints the result as a table."""
    print(f"\n{'':34}{'a second':>14}{'ms':>12}{'GFLOP/s':>10}{'of limit':>10}")
    for row in result["cases"]:
        gflops = "" if row["gflops"] is None else f"{row['gflops']:.1f}"
        share = "" if row["share_of_limit"] is None else f"{row['share_of_limit']:.2f}"
        print(f"{row['name']:34}{row['rate']:>14,.1f}{row['ms']:>12.4f}{gflops:>10}{share:>10}  {row['unit']}")
    for name, value in {**result["ratios"], **result["more"]}.items():
        print(f"{name:60}{value:>10.2f}" if isinstance(value, float) else f"{name:60}{value}")
    if "growth" in result:
        show_growth(result["growth"])


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds (5 or more)")
    parser.add_argument("--round-seconds", type=float, default=1.0, help="how long each case runs in a round")
    parser.add_argument("--threads", type=int, default=1, help="intra-op threads of torch")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, for one thread on a busy machine")
    parser.add_argument("--only", default="", help="only cases with this in their names, such as 'rollout step'")
    parser.add_argument("--quick", action="store_true", help="leave out the overhead, memory, quality and growth runs")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    args = parser.parse_args()
    if args.rounds < 5:
        parser.error(f"expected at least 5 rounds, got {args.rounds}: a median of fewer says little")
    device = torch.device(args.device)
    if args.cpu_time and (args.threads != 1 or device.type != "cpu"):
        parser.error("expected one thread on the CPU with --cpu-time, which adds up the time of all threads; leave it out")
    clock = process_time if args.cpu_time else perf_counter
    torch.set_num_threads(args.threads)
    bf16 = has_bf16(device)
    cases = all_cases(device, bf16, lambda name: print(f"ready: {name}", flush=True), args.only)
    measure(cases, args.rounds, args.round_seconds, device, clock)
    result: dict[str, Any] = {
        "machine": machine(device),
        "rounds": args.rounds,
        "round_seconds": args.round_seconds,
        "load_average": os.getloadavg()[0],
        "clock": "processor time" if args.cpu_time else "wall clock",
        "cases": summary(cases),
        "ratios": ratios(cases),
        "more": {},
    }
    if not args.quick:
        result["more"]["everything else in a step, ms (N = 1)"] = overhead.overhead_ms(5, clock)
        if device.type == "cpu":
            result["more"]["rollout step, peak MiB beyond buffers"] = memory.rollout_peak_mib()
            result["growth"] = growth_rows(args.rounds, 0.3, clock)
        if bf16:
            result["more"]["bf16 quality"] = quality.compare()
    show(result)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
