"""Peak memory of a rollout step of 100,000 states beyond its buffers, measured in a fresh process.

python -m benchmarks.speed.memory prints the mebibytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import subprocess
import sys
from pathlib import Path


def rollout_peak_mib() -> float:
    """Mebibytes that a rollout step takes at its peak on top of model, learner, start rows and a filled buffer."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.speed.memory"]
    return float(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()[-1])


def _peak_kib() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Runs the step in this process."""
    import torch

    from benchmarks.speed.cases import rollout_step, task

    torch.set_num_threads(1)
    case = rollout_step(task(), torch.device("cpu"))
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what set-up freed must not serve the step unseen
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # the peak starts anew from what is resident now
    before = _peak_kib()
    case.run()
    print((_peak_kib() - before) / 1024)


if __name__ == "__main__":
    main()
