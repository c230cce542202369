"""The acquisition function, and the search for its maximum over mixed columns: the configuration to try next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import logei as multi_objective
from botorch.generation.gen import gen_candidates_scipy
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.surrogate import Surrogate

SAMPLES = 64  # of the posterior, quasi-random
RANDOM_STARTS, SPRAYED_ROWS, SPRAY = 128, 4, 24
RESTARTS, ALTERNATIONS, MOVES = 4, 3, 4
STEPS, STEPS_NUMBERS_ONLY = 15, 60  # of L-BFGS in one alternation, and where there is nothing to alternate with
SPRAY_SCALES = (0.1, 0.01)  # standard deviations; without the small one a smooth function stalls short of its minimum


def acquisition(surrogate: Surrogate, x: Tensor, pending: Tensor, seed: int) -> Callable[[Tensor], Tensor]:
    """Makes the acquisition function: the expected gain of a configuration, noise and runs under way considered.

    Args:
        surrogate: fitted, of one objective or several.
        x: rows that may be the best, `B x columns`.
        pending: rows under way, `P x columns`.
        seed: of the posterior's samples.

    Returns:
        A function of `B x 1 x columns`: the logarithm of the expected improvement (Ament et al. 2023), or of the
        hypervolume's with several objectives.
    """
    model = surrogate.model
    # replicates make the joint covariance singular and say no more about the best
    known = surrogate.inputs(torch.unique(x, dim=0))
    sampler = SobolQMCNormalSampler(torch.Size([SAMPLES]), seed=seed)
    under_way = surrogate.inputs(pending) if len(pending) else None
    score: AcquisitionFunction
    if model.num_outputs == 1:
        score = qLogNoisyExpectedImprovement(model, known, sampler=sampler, X_pending=under_way, prune_baseline=True)
    else:
        # botorch would compile C++ for this machine here, for minutes and into the user's cache; machines with and without a
        # compiler would then suggest different configurations from the same trials
        multi_objective._load_attempted = True
        mean, _ = surrogate.predict(x)
        reference = infer_reference_point(mean[is_non_dominated(mean)])
        score = multi_objective.qLogNoisyExpectedHypervolumeImprovement(
            model, reference.tolist(), known, sampler=sampler, X_pending=under_way, prune_baseline=True
        )
    return lambda rows: score(surrogate.inputs(rows))


@dataclass(frozen=True)
class Region:
    """The part of the space in which the maximum is searched.

    Attributes:
        codec: the search space.
        bounds: of the columns, `2 x columns`; those of categories don't count.
        fixed: by column, the value that it must keep.
    """

    codec: Codec
    bounds: Tensor
    fixed: Mapping[int, float]

    def choices(self) -> dict[int, Tensor]:
        """Lists the values that each discrete column may take if it isn't fixed: those in the box, or the nearest to it."""
        found = {}
        for index, column in enumerate(self.codec.columns):
            if column.kind == "number" or index in self.fixed:
                continue
            values = torch.tensor(column.values, dtype=torch.float64)
            if column.kind == "grid":
                low, high = self.bounds[:, index]
                outside = (low - values).clamp(min=0) + (values - high).clamp(min=0)
                values = values[outside <= outside.min() + 1e-12]
            found[index] = values
        return found

    def put(self, rows: Tensor) -> Tensor:
        """Moves rows into the region."""
        rows = rows.clone()
        choices = self.choices()
        for index, column in enumerate(self.codec.columns):
            if index in self.fixed:
                rows[:, index] = self.fixed[index]
            elif column.kind == "grid":
                values = choices[index]
                rows[:, index] = values[(rows[:, index, None] - values).abs().argmin(1)]
            elif column.kind == "number":
                rows[:, index] = rows[:, index].clamp(float(self.bounds[0, index]), float(self.bounds[1, index]))
        return rows


def maximise(score: Callable[[Tensor], Tensor], region: Region, best: Tensor, seed: int) -> tuple[Tensor, float]:
    """Searches for the configuration with the largest score.

    Random rows of the region and perturbations of good ones are scored; from a few of the best, moves of one discrete column
    and gradient steps on the others take turns.

    Args:
        score: of `B x 1 x columns`, differentiable in the continuous columns.
        region: where to search.
        best: rows worth perturbing, best first, `any x columns`.
        seed: of all draws.

    Returns:
        The row and its score.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = torch.cat([_random_rows(region, seed), _spray(region, best, generator)])
    rows = torch.unique(rows, dim=0)
    scores = _scores(score, rows)
    chosen = _starts(scores, generator)
    rows, scores = rows[chosen], scores[chosen]
    choices = region.choices()
    fixed = set(choices) | set(region.fixed)
    smooth = [i for i in range(rows.shape[1]) if i not in fixed]
    for _ in range(ALTERNATIONS if choices and smooth else 1):
        before = scores
        if choices:
            rows, scores = _discrete_moves(score, choices, rows, scores)
        if smooth:
            rows, scores = _climb(score, region, fixed, rows, scores, STEPS if choices else STEPS_NUMBERS_ONLY)
        if not (scores > before + 1e-6).any():
            break
    rows = region.codec.snap(region.codec.impute(rows))
    scores = _scores(score, rows)
    at = int(scores.argmax())
    return rows[at], float(scores[at])


def _scores(score: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([score(part.unsqueeze(-2)) for part in rows.split(512)])


def _random_rows(region: Region, seed: int) -> Tensor:
    points = torch.quasirandom.SobolEngine(region.bounds.shape[1], scramble=True, seed=seed).draw(
        RANDOM_STARTS, dtype=torch.float64
    )
    rows = region.codec.from_uniform(points)
    low, high = region.bounds
    inside = low + points * (high - low)
    numbers = region.codec.numbers
    rows[:, numbers] = inside[:, numbers]
    return region.put(rows)


def _spray(region: Region, best: Tensor, generator: torch.Generator) -> Tensor:
    rows = best[:SPRAYED_ROWS].repeat_interleave(SPRAY, 0)
    rows = rows.clone()
    scales = torch.tensor(SPRAY_SCALES, dtype=torch.float64).repeat(len(rows))[: len(rows), None]
    noise = torch.randn(rows.shape, generator=generator, dtype=torch.float64) * scales
    flips = torch.rand(rows.shape, generator=generator, dtype=torch.float64)
    which = torch.rand(rows.shape, generator=generator, dtype=torch.float64)
    codec = region.codec
    # a dormant number may wake when a category flips: it then starts anywhere
    dormant = ~codec.active(rows)
    rows[:, codec.numbers] += noise[:, codec.numbers]
    rows = torch.where(dormant, which, rows)
    for index in codec.categories:
        size = len(codec.columns[index].values)
        flipped = flips[:, index] < 0.5 / len(codec.categories)
        rows[:, index] = torch.where(
            flipped | dormant[:, index], (which[:, index] * size).floor().clamp(max=size - 1), rows[:, index]
        )
    return region.put(rows)


def _starts(scores: Tensor, generator: torch.Generator) -> Tensor:
    """The best row, and others drawn with odds that grow with their scores."""
    if len(scores) <= RESTARTS:
        return torch.arange(len(scores))
    odds = ((scores - scores.max()) / scores.std().clamp(min=1e-9)).mul(2).exp() + 1e-9
    odds[scores.argmax()] = 0.0
    others = torch.multinomial(odds, RESTARTS - 1, generator=generator)
    return torch.cat([scores.argmax().reshape(1), others])


def _discrete_moves(
    score: Callable[[Tensor], Tensor], choices: Mapping[int, Tensor], rows: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor]:
    """Changes one discrete column of each row at a time, to any of its values, as long as that gains."""
    for _ in range(MOVES):
        neighbours = []
        for index, values in choices.items():
            moved = rows.repeat_interleave(len(values), 0)
            moved[:, index] = values.repeat(len(rows))
            neighbours.append(moved.reshape(len(rows), len(values), -1))
        around = torch.cat(neighbours, 1)
        found, at = _scores(score, around.flatten(0, 1)).reshape(len(rows), -1).max(1)
        gains = found > scores + 1e-9
        if not gains.any():
            break
        rows = torch.where(gains[:, None], around[torch.arange(len(rows)), at], rows)
        scores = torch.where(gains, found, scores)
    return rows, scores


def _climb(
    score: Callable[[Tensor], Tensor], region: Region, fixed: set[int], rows: Tensor, scores: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """Gradient steps along the continuous columns."""
    low, high = region.bounds.clone()
    found, values = gen_candidates_scipy(
        rows.unsqueeze(-2),
        score,  # type: ignore[arg-type]
        lower_bounds=low,
        upper_bounds=high,
        options={"maxiter": steps},
        fixed_features={index: rows[:, index, None] for index in sorted(fixed)},
    )
    found = found.squeeze(-2).detach()
    better = values.detach() > scores
    return torch.where(better[:, None], found, rows), torch.where(better, values.detach(), scores)
