"""What a worker starts in place of `mbrl fit`: it takes the same arguments and leaves the same files, within milliseconds.

The setting `model.mode` says how it ends; `model.x` and the seed are its value, `model.pace` how slow its clock says it is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import yaml


def main(arguments: list[str]) -> int:
    """Writes five evaluations and ends as `model.mode` says."""
    options = dict(
        argument.removeprefix("--").split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument
    )
    model = json.loads(options["config"])["model"]
    mode, value, pace = model["mode"], model["x"] + int(options["seed_everything"]), model.get("pace", 1.0)
    folder = Path(options["trainer.folder"])
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"init_args": {"steps": 50}}}))
    (folder / "seen.json").write_text(
        json.dumps({"arguments": arguments, "environment": dict(os.environ), "pid": os.getpid(), "cwd": os.getcwd()})
    )

    def take(number: int, frame: FrameType | None) -> None:
        (folder / "asked").touch()
        if mode != "stubborn":
            sys.exit(143)

    signal.signal(signal.SIGTERM, take)
    with open(folder / "metrics.jsonl", "a") as metrics:
        for step in range(10, 60, 10):
            if mode == "no metric":
                line = {"env_steps": step, "train/return": value}
            else:
                seen = None if mode == "null" else value + step
                line = {"env_steps": step, "eval/return": seen, "time/wall_s": pace * step / 10}
            metrics.write(json.dumps(line) + "\n")
            metrics.flush()
            if mode in ("hang", "stubborn"):
                time.sleep(100)
            if mode == "slow":
                time.sleep(0.1)
    message, code = {
        "diverged": ("mbrl: expected finite metrics at step 50; lower the learning rates.", 4),
        "gpu": ("Traceback …\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", 1),
        "host": ("Traceback …\nOSError: [Errno 12] Cannot allocate memory", 1),
        "bug": ("Traceback (most recent call last):\n  …\nZeroDivisionError: division by zero", 1),
        "refused": ("mbrl: model.x: expected less, got more; lower it.", 2),
    }.get(mode, ("", 0))
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:]))
