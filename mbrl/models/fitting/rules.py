"""How a gradient model is fitted: which rows train it, in what order, when it stops, and which weights it keeps.

The same classes serve a planner's refits and `mbrl fit` of a model alone.

Janner2019: "When to trust your model: model-based policy optimization" (MBPO; authors' code).
Pineda2021: "MBRL-Lib: a modular library for model-based reinforcement learning".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mbrl.data import Transitions
from mbrl.errors import DataError

Bootstrap = Literal["replacement", "permutation", "none"]
Stopping = Literal["mbpo", "mbrl-lib", "mean"]
Keep = Literal["member", "ensemble", "never"]

_NO_SCORE = 1e10  # the best of a member that never had one below it


@dataclass(frozen=True)
class Split:
    """Which rows train and which are held out, shared by all members.

    Attributes:
        train: int64 indices, on the device of the rows.
        holdout: the same of the rows that are held out.
    """

    train: Tensor
    holdout: Tensor

    @staticmethod
    def draw(
        rows: Transitions,
        generator: torch.Generator,
        share: float,
        most: int | None = None,
        by: Literal["row", "episode"] = "row",
    ) -> Split:
        """Draws a split, anew at every fit.

        Args:
            rows: `N` transitions.
            generator: what draws.
            share: of the rows to hold out; at least one row if above 0.
            most: rows held out at most, None for no cap.
            by: rows one by one, or whole episodes (`extras["episode"]`) until the number is reached, which keeps the
                correlated rows of one episode on one side.

        Raises:
            DataError: if a side would be empty, or episodes are asked for and not known.
        """
        number, device = len(rows), rows.obs.device
        wanted = 0 if share == 0 else max(1, min(int(share * number), number if most is None else most))
        if number - wanted < 1:
            raise DataError(f"expected at least {2 if share else 1} rows to fit a model, got {number}; collect more first.")
        if by == "row":
            order = torch.randperm(number, generator=generator, device=generator.device).to(device)  # N
            return Split(order[wanted:], order[:wanted])
        if "episode" not in rows.extras:
            raise DataError("expected extras['episode'] in rows held out by episode, got none; use holdout_by='row'.")
        _, episode, sizes = rows.extras["episode"].unique(return_inverse=True, return_counts=True)  # N; episodes
        if wanted and len(sizes) < 2:
            raise DataError("expected at least 2 episodes to hold one out, got 1; collect more, or use holdout_by='row'.")
        order = torch.randperm(len(sizes), generator=generator, device=generator.device).to(device)  # episodes
        before = sizes[order].cumsum(0) - sizes[order]  # episodes, rows held out before each is added
        chosen = torch.zeros_like(sizes, dtype=torch.bool)
        chosen[order] = before < wanted
        chosen[order[-1]] &= wanted == 0  # one episode is left to train on
        held = chosen[episode]  # N
        return Split((~held).nonzero()[:, 0], held.nonzero()[:, 0])


class MemberBatches:
    """The rows that each member sees, batch by batch.

    Args:
        train: int64 indices of the training rows, `n`.
        members: `E`.
        batch_size: rows per member and batch; the last batch of an epoch may be smaller.
        bootstrap: `"replacement"`: each member draws its own `n` rows with replacement, once, and every epoch shuffles
            them (MBPO, PETS, mbrl-lib); drawing them anew each epoch would make the members alike. `"permutation"`: every
            member sees all rows in its own order (several ports). `"none"`: all members see the same batches.
        generator: what draws, now and at every epoch.
    """

    def __init__(
        self, train: Tensor, members: int, batch_size: int, bootstrap: Bootstrap, generator: torch.Generator
    ) -> None:
        self.members = members
        self.batch_size = batch_size
        self.bootstrap = bootstrap
        self.generator = generator
        n, device = len(train), train.device
        if bootstrap == "replacement":
            drawn = torch.randint(n, (members, n), generator=generator, device=generator.device).to(device)  # E x n
            self.rows = train[drawn]  # E x n
        else:
            self.rows = train.expand(members if bootstrap == "permutation" else 1, n)

    def __len__(self) -> int:
        return -(-self.rows.shape[1] // self.batch_size)

    def epoch(self, rank: int = 0, world: int = 1) -> Iterator[Tensor]:
        """The index of each batch, `E x B`, in an order drawn anew.

        Args:
            rank: number of this process among those that share every batch, each an equal part.
            world: number of these processes; up to `world` - 1 rows of a batch are left out so that the mean of the parts'
                gradients is the batch's.
        """
        source = self.generator
        keys = torch.rand(self.rows.shape, generator=source, device=source.device, dtype=torch.float32).to(self.rows.device)
        shuffled = self.rows.gather(1, keys.argsort(1)).expand(self.members, -1)  # E x n
        for batch in shuffled.split(self.batch_size, 1):  # E x B
            share = batch.shape[1] // world
            if share:
                yield batch[:, rank * share : (rank + 1) * share]


class BestWeights:
    """Early stopping on the holdout, and the weights that were best on it.

    There is one score per member, lower is better, compared once per epoch.

    - `"mbpo"` [Janner2019]: a member improves if its score falls more than `threshold` (relative) below its best, which
      starts at 1e10; fitting stops when more than `patience` epochs in a row improved no member.
    - `"mbrl-lib"` [Pineda2021]: the best starts at the score before the fit (`begin`); any improvement sets all bests
      to the elementwise minimum; fitting stops after `patience` epochs in a row without one.
    - `"mean"`: a member improves if its score falls at all, and what counts for the end is the mean of the members' bests:
      fitting stops when more than `patience` epochs in a row didn't bring it `threshold` (relative) below where it was last
      counted. Of many members one falls by a little in almost every epoch, upon which the other rules go on. A member that
      never had a finite score has no part in the mean, and its first one counts as progress.

    A score that falls by `threshold` in `patience` epochs never stops a fit, since the fall adds up: cap the epochs, or
    raise `threshold`.

    Args:
        parameters: what is fitted, by name.
        own: names of the parameters and buffers whose first dim is `E`; the others are shared.
        members: `E`.
        rule: `"mbpo"`, `"mbrl-lib"` or `"mean"`, as above.
        patience: epochs without improvement that are tolerated, as above.
        threshold: relative fall of a score that counts as an improvement.
        keep: `"member"`: each member's own best weights come back in the end (parameters that all members share stay as
            they are); `"ensemble"`: all parameters as they were when any member last improved; `"never"`: the last ones
            stay.
        buffers: gives the buffers by name, which belong to the weights (spectral norms, running statistics) and come back
            with them; those that all members share as they were when any member last improved. They are asked for anew
            each time, since a module may put another tensor in a buffer's place.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        own: Collection[str],
        members: int,
        rule: Stopping = "mbpo",
        patience: int = 5,
        threshold: float = 0.01,
        keep: Keep = "member",
        buffers: Callable[[], dict[str, Tensor]] = dict,
    ) -> None:
        self.parameters = parameters
        self.buffers = buffers
        self.rule = rule
        self.patience = patience
        self.threshold = threshold
        # with one member nothing need have a members' dim, and the two ways are the same
        self.keep: Keep = "ensemble" if keep == "member" and members == 1 else keep
        self.own = frozenset(own)
        self.members = members
        self.best = torch.full((members,), _NO_SCORE, dtype=torch.float64)  # E
        self.counted = _NO_SCORE  # the mean of the bests when it was last counted as progress
        self.idle = 0
        self._weights: dict[str, Tensor] = {}
        self._buffers: dict[str, Tensor] = {}
        self._kept = [False] * members

    @property
    def needs_start(self) -> bool:
        """True if the rule looks at the scores before the fit."""
        return self.rule == "mbrl-lib"

    def begin(self, scores: Tensor) -> None:
        """Takes the scores before the fit (`E`), for a rule that looks at them."""
        self.best = scores.double().cpu()

    @torch.no_grad()
    def update(self, scores: Tensor) -> bool:
        """Takes the scores after an epoch (`E`); returns whether to stop."""
        now = scores.double().cpu()  # the one read-back of an epoch
        fallen = (self.best - now) / self.best.abs()  # E
        improved = fallen > (0 if self.rule == "mean" else self.threshold)  # E
        progress, scored = bool(improved.any()), self.best < _NO_SCORE  # E
        if progress:
            self.best = torch.where(now < self.best if self.rule == "mbrl-lib" else improved, now, self.best)
            self._keep(improved.tolist())
        if self.rule == "mean":
            known = self.best[self.best < _NO_SCORE]
            mean = known.mean().item() if len(known) else _NO_SCORE
            joined = len(known) > int(scored.sum())
            progress = joined or self.counted - mean > self.threshold * abs(self.counted)
            self.counted = mean if progress else self.counted
        self.idle = 0 if progress else self.idle + 1
        return self.idle >= self.patience if self.rule == "mbrl-lib" else self.idle > self.patience

    def _keep(self, improved: Sequence[bool]) -> None:
        if self.keep == "never":
            return
        everything = self.keep == "ensemble"
        weights = {name: weight for name, weight in self.parameters.items() if everything or name in self.own}
        for kept, now in ((self._weights, weights), (self._buffers, self.buffers())):
            for name, tensor in now.items():
                if name not in kept or everything or name not in self.own:
                    kept[name] = tensor.detach().clone()
                    continue
                for member, better in enumerate(improved):
                    if better:
                        kept[name][member].copy_(tensor.detach()[member])
        self._kept = [kept or better or everything for kept, better in zip(self._kept, improved, strict=True)]

    @torch.no_grad()
    def restore(self) -> None:
        """Puts the kept weights and buffers back; a member that never improved stays as it is."""
        for kept, now in ((self._weights, self.parameters), (self._buffers, self.buffers())):
            for name, tensor in kept.items():
                if self.keep == "ensemble" or name not in self.own:
                    now[name].copy_(tensor)
                    continue
                for member, improved in enumerate(self._kept):
                    if improved:
                        now[name][member].copy_(tensor[member])

    def state_dict(self) -> dict[str, Any]:
        """Bests, counter, kept weights and buffers, as tensors and plain data."""
        kept = {"weights": dict(self._weights), "buffers": dict(self._buffers), "kept": list(self._kept)}
        return {"best": self.best, "counted": self.counted, "idle": self.idle, **kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state`; one written before buffers were kept has none, nor what the rule `"mean"` counts."""
        self.counted = state.get("counted", _NO_SCORE)
        self.best, self.idle, self._kept = state["best"].cpu(), state["idle"], list(state["kept"])
        buffers = self.buffers()
        self._weights, self._buffers = (
            {name: tensor.to(now[name].device, copy=True) for name, tensor in state.get(part, {}).items()}
            for part, now in (("weights", self.parameters), ("buffers", buffers))
        )
