"""Acts by an exported policy, `policy.pt2`: needs torch alone, and this file.

    policy = ExportedPolicy("policy.pt2")
    action = policy(obs)      # environment units, in and out; policy.reset() where an episode begins

`python policy_runner.py policy.pt2` reads observations, a line of numbers each, and writes actions likewise.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch
from torch import Tensor


class ExportedPolicy:
    """A policy as it acts in evaluations: deterministic, observations and actions in environment units.

    Args:
        path: the `.pt2` file. Load files of your own only: torch may run what a foreign one holds.
        every: steps between two looks at the observation, up to `length`, the actions of a decision; None for `length`,
            which is 1 unless it is a policy of sequences. Less reacts faster, and decides more often.

    Raises:
        ValueError: if `path` is no such file, or a decision has fewer actions than `every`.

    Attributes:
        about: sizes, bounds and task, as exported.
        length: actions in a decision.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None) -> None:
        if not os.path.isfile(path) or not os.fspath(path).endswith(".pt2"):  # torch would write pages before it fails
            raise ValueError(f"expected a .pt2 file that mbrl export wrote, got {os.fspath(path)}; look where it is.")
        extra: dict[str, Any] = {"policy.json": ""}
        program = torch.export.load(path, extra_files=extra)
        self.network = program.module()
        self.about: dict[str, Any] = json.loads(extra["policy.json"])
        self.length = int(self.about["length"])
        self.every = self.length if every is None else every
        if not 1 <= self.every <= self.length:
            raise ValueError(f"ExportedPolicy(every=…): expected 1 to {self.length}, got {every}; a decision has no more.")
        self.reset()

    def reset(self) -> None:
        """Begins episodes anew: nothing is left to play, and no action came before."""
        self._queue: list[Tensor] = []
        self._before: Tensor | None = None

    @torch.no_grad()
    def decide(self, obs: Any, prev_action: Any = None) -> Tensor:
        """The actions of the next `length` steps.

        Args:
            obs: `B x S`, numbers of any kind.
            prev_action: `B x A`, those before; None where episodes begin. A policy that doesn't ask ignores them.

        Returns:
            `B x length x A` float32.
        """
        rows = self._checked(torch.as_tensor(obs, dtype=torch.float32))
        inputs = [rows]
        if self.about["asks_prev_action"]:
            if prev_action is None:
                middle = [(low + high) / 2 for low, high in zip(self.about["low"], self.about["high"], strict=True)]
                prev_action = torch.tensor(middle, dtype=torch.float32).expand(len(rows), -1)
            inputs.append(torch.as_tensor(prev_action, dtype=torch.float32))
        return self.network(*inputs).view(len(rows), self.length, -1)

    def __call__(self, obs: Any) -> Tensor:
        """The action to take now, `A` or `B x A` as `obs` is `S` or `B x S`; it looks once in `every` calls."""
        rows = torch.as_tensor(obs, dtype=torch.float32)
        batch = self._checked(rows.view(1, -1) if rows.ndim == 1 else rows)  # where it doesn't look, too
        if self._before is not None and len(self._before) != len(batch):
            raise ValueError(f"expected {len(self._before)} observations as before, got {len(batch)}; reset() begins anew.")
        if not self._queue:
            self._queue = list(self.decide(batch, self._before).unbind(1)[: self.every])
        self._before = self._queue.pop(0)
        return self._before if rows.ndim == 2 else self._before[0]

    def _checked(self, rows: Tensor) -> Tensor:
        """`rows` if they are finite observations, `B x S`."""
        if rows.ndim != 2 or rows.shape[1] != self.about["obs_size"]:
            raise ValueError(f"expected obs of shape B x {self.about['obs_size']}, got {tuple(rows.shape)}; reshape it.")
        if not rows.isfinite().all():
            raise ValueError("expected finite numbers as obs, got NaN or infinity; look at where they come from.")
        return rows


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python policy_runner.py policy.pt2 < observations")
    try:
        policy = ExportedPolicy(sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
    for count, line in enumerate(sys.stdin, 1):
        try:
            action = policy([float(number) for number in line.split()])
        except ValueError as error:
            sys.exit(f"line {count}: {error}")
        sys.stdout.write(" ".join(map(str, action.tolist())) + "\n")
        sys.stdout.flush()
