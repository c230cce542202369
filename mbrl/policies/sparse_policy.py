"""`SparsePolicy`: actions as sparse sums of a library's terms, which a person can read and a small controller can run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.data import Generator, Task
from mbrl.networks import Library, SparseMap
from mbrl.networks.sparse import terms_of
from mbrl.networks.sparse.regression import Settings, regress
from mbrl.networks.sparse.text import sum_text
from mbrl.policies.base import BuildablePolicy

# How far inside ±1 a label counts at most: tanh reaches neither, and what a saturated teacher meant beyond isn't known.
SATURATED = 0.995


class SparsePolicy(BuildablePolicy):
    """tanh of a sparse sum of terms of the observation for each action; deterministic, and 0 until it is fitted.

    Args:
        library: of observations alone; one, or several whose terms are joined. None: monomials up to degree 3, no constant.

    Raises:
        ConfigError: from `build`, for a library of inputs that there aren't.
    """

    def __init__(self, library: Library | Sequence[Library] | None = None) -> None:
        super().__init__()
        self.library = Library(degree=3, bias=False) if library is None else library

    def build(self, task: Task, seed: int = 0) -> None:
        self.task = task
        self.map = SparseMap(terms_of(self.library, task.obs_size, 0), 1, task.action_size)

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        task = self.built_task
        check_shape("SparsePolicy(obs)", obs, ("B", task.obs_size), "give it observations of its task")
        said = self.map(obs.reshape(-1, task.obs_size))[0]  # B x A
        return torch.tanh(said).reshape(*obs.shape[:-1], task.action_size)

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The deterministic action, and 0 for its log-probability, since nothing is drawn."""
        action = self.mode(obs, prev_action)
        return action, action.new_zeros(action.shape[:-1])

    @torch.no_grad()
    def fit(self, obs: Tensor, action: Tensor, threshold: float, alpha: float) -> None:
        """Imitates actions by thresholded least squares, before tanh, so that nothing flat has to be fitted.

        Args:
            obs: `N x S`.
            action: `N x A` in [−1, 1]; beyond ±`SATURATED` they count as that.
            threshold: smallest share of an action's size that a term must bring (see `mbrl.networks.sparse`).
            alpha: ridge while terms are chosen, beside a sum over rows.

        Raises:
            DataError: for fewer rows than terms.
        """
        label = torch.atanh(action.detach().cpu().double().clamp(-SATURATED, SATURATED))  # N x A
        settings = Settings(threshold, alpha, True, True, 1)
        moves = label.abs().amax(0) > 0
        generator = torch.Generator()  # draws nothing of one member
        inputs = obs.detach().cpu().double()
        self.map.put(regress("SparsePolicy(library=…)", self.map.terms, inputs, label, moves, settings, generator))

    def equations(self, names: Sequence[str] | None = None, digits: int = 3) -> list[str]:
        """Lines such as `u0 = tanh(-2.1 x1 + 0.3 x2)`, of actions in [−1, 1] and observations in environment units.

        Args:
            names: of the `S` observations; None for x0, x1, ….
            digits: significant ones of a coefficient.
        """
        called, lines = self.map.terms.names(names), []
        for place, column in enumerate(self.map.in_units()[0].cpu().T.tolist()):  # A of p
            there = sorted((term for term, value in enumerate(column) if value), key=lambda term: -abs(column[term]))
            inside = sum_text((called[term], column[term], f"{abs(column[term]):.{digits}g}") for term in there)
            lines.append(f"u{place} = tanh({inside})")
        return lines
