"""`Box`: lows and highs between which a model is trusted, and how its rollouts end beyond.

Zolman2024: "SINDy-RL: interpretable and efficient model-based reinforcement learning" (arXiv 2403.09110; authors' code).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from mbrl.arguments import Items, NonNegative, check_shape
from mbrl.data import Task, Transitions
from mbrl.errors import ConfigError, DataError, MbrlWarning
from mbrl.models.domains.base import Domain
from mbrl.models.domains.reached import reached

_MAY_LIE_OUTSIDE = 0.5  # share of the real rows, such as those at a wall that a smooth model had better not see


class Box(Domain):
    """Ends rollouts that come to a bound or beyond it; so do numbers that aren't finite.

    The state outside is what the agent sees and what the last reward is of [Zolman2024]. A rollout that begins outside, as
    real states may lie there, goes on while each step brings it nearer to the bounds that it is beyond. How rollouts end:

    - `"truncate"`: as by a time limit. A learner values the state outside by its critics; a plan earns nothing more.
    - `"terminate"`: as if the task were over, which is worth 0 from there on, the authors' way. Where rewards are negative
      this is an escape that policies and plans learn to take, and where they are positive it costs the future.
    - `"penalise"`: as `"terminate"`, and `penalty` is taken off the last reward.

    Args:
        low: lower bounds, `S` numbers in environment units; null for none.
        high: upper bounds, likewise. Wider boxes let rollouts go where the model has seen nothing.
        ends: as above.
        penalty: reward units, beside `"penalise"` alone; more than what leaving saves keeps rollouts inside.

    Raises:
        ConfigError: for a low that isn't below its high, no bound at all, a penalty beside another way to end, or, by the
            `build` of a model, if there isn't one bound per observation.
        DataError: from a refit, if all real rows lie outside.
    """

    def __init__(
        self,
        low: Annotated[Sequence[float | None], Items(1)],
        high: Annotated[Sequence[float | None], Items(1)],
        ends: Literal["truncate", "terminate", "penalise"] = "truncate",
        penalty: NonNegative | None = None,
    ) -> None:
        if len(low) != len(high):
            raise ConfigError(f"Box: expected as many lows as highs, got {len(low)} and {len(high)}; give null for none.")
        self.low = tuple(-float("inf") if bound is None else float(bound) for bound in low)
        self.high = tuple(float("inf") if bound is None else float(bound) for bound in high)
        for place, (least, most) in enumerate(zip(self.low, self.high, strict=True)):
            if not least < most:
                raise ConfigError(
                    f"Box: expected each low below its high, got {least:g} and {most:g} at {place}; swap them."
                )
        if all(bound in (-float("inf"), float("inf")) for bound in (*self.low, *self.high)):
            raise ConfigError("Box: expected a bound, got none at all; give one, or leave the box out.")
        if (ends == "penalise") != (penalty is not None):
            raise ConfigError(
                f"Box(penalty=…): expected a number beside ends='penalise' and none beside others, got {penalty} beside "
                f"{ends!r}; set both or neither."
            )
        self.ends: Literal["truncate", "terminate", "penalise"] = ends
        self.penalty = 0.0 if penalty is None else float(penalty)
        self._bounds: dict[Any, tuple[Tensor, Tensor]] = {}
        self._told = False

    def check(self, task: Task) -> None:
        check_shape("Box(low=…)", self.low, (task.obs_size,), "give one per observation, null for none", ConfigError)

    def halted(self, obs: Tensor, next_obs: Tensor) -> Tensor | None:
        return self.left(obs, next_obs) if self.ends == "truncate" else None

    def ended(self, obs: Tensor, next_obs: Tensor) -> Tensor | None:
        return None if self.ends == "truncate" else self.left(obs, next_obs)

    def left(self, obs: Tensor, next_obs: Tensor) -> Tensor:
        """Which steps `obs` to `next_obs` (`B x S`) lead out, or further out, `B` bool."""
        before, beyond = self._beyond(obs), self._beyond(next_obs)  # B x S
        return (~(beyond < 0) & ~(beyond < before)).any(-1)

    def outside(self, obs: Tensor) -> Tensor:
        """Which of `obs` (`B x S`) don't lie strictly between the bounds, `B` bool."""
        return ~(self._beyond(obs) < 0).all(-1)

    def _beyond(self, obs: Tensor) -> Tensor:
        """How far `obs` (`B x S`) lie beyond the nearer bound, `B x S`: below 0 inside, NaN for what isn't finite."""
        key = (obs.dtype, obs.device)
        if key not in self._bounds:  # kept, since a fresh tensor per call would be a copy from the host
            with torch.inference_mode(False):
                low, high = (torch.tensor(each, dtype=obs.dtype, device=obs.device) for each in (self.low, self.high))
                self._bounds[key] = (low, high)
        low, high = self._bounds[key]
        return torch.maximum(low - obs, obs - high)

    def fitted(self, model: Any, rows: Transitions) -> None:
        """Looks how many of the real rows (`N`) lie outside: none may go on from there."""
        share = float(self.outside(rows.next_obs).double().mean())  # one read-back per refit
        if share == 1.0:
            raise DataError(
                f"Box: expected bounds around the real observations, got bounds outside of which all {len(rows)} lie; these "
                f"reach from {reached(rows.next_obs)}; widen low and high."
            )
        if share > _MAY_LIE_OUTSIDE and not self._told:
            self._told = True
            least, most = _range(rows.next_obs)
            crossed = [
                f"{place} ({least[place]:g} to {most[place]:g} in {self.low[place]:g} to {self.high[place]:g})"
                for place in range(len(self.low))
                if least[place] <= self.low[place] or most[place] >= self.high[place]
            ]
            warnings.warn(
                f"Box: expected bounds around the real observations, got bounds outside of which {share:.1%} of the "
                f"{len(rows)} lie: at {', '.join(crossed)}; widen them, or rollouts end where real episodes go on.",
                MbrlWarning,
                2,
            )

    def reset(self) -> None:
        self._told = False


def _range(obs: Tensor) -> tuple[list[float], list[float]]:
    return obs.amin(0).tolist(), obs.amax(0).tolist()
