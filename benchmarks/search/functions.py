"""Functions with known optima to measure a search on, from plain numbers to conditional, noisy and diverging.

Each is a `Problem`; `PROBLEMS` makes them by name. A value is free of noise, NaN where the configuration diverges; what a
search sees is `observe`, which adds the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """A search space, what its configurations are worth, and the best that there is.

    Attributes:
        name: as in `PROBLEMS`.
        distributions: by parameter, parents first.
        conditions: by conditional parameter, the values of each parent under which it is active.
        direction: of the values.
        optimum: the best value, free of noise.
        value: of a configuration's active parameters, free of noise; NaN if it diverges.
        noise_sd: standard deviation of the noise, from the value.
        steps: of a run, after each of which it reports; 0 of one without a curve.
        share: what part of a configuration's value a run of it has reached after a step, 1 at the last.
    """

    name: str
    distributions: Mapping[str, BaseDistribution]
    direction: Literal["minimize", "maximize"]
    optimum: float
    value: Callable[[Params], float]
    conditions: Mapping[str, Mapping[str, tuple[Any, ...]]] = field(default_factory=dict)
    noise_sd: Callable[[float], float] = lambda value: 0.0
    steps: int = 0
    share: Callable[[Params, int], float] | None = None

    def regret(self, params: Params) -> float:
        """Distance of a configuration's value from the optimum, free of noise; a diverging one is as bad as a value of 0."""
        value = self.value(params)
        return abs((0.0 if math.isnan(value) else value) - self.optimum)

    def observe(self, params: Params, rng: np.random.Generator) -> float:
        """Value that one run of the configuration reports, with noise, or NaN."""
        value = self.value(params)
        return value if math.isnan(value) else value + self.noise_sd(value) * float(rng.standard_normal())

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """A configuration drawn uniformly (log-uniformly where the distribution is), inactive parameters left out."""
        params: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            parents = self.conditions.get(name, {})
            if all(params.get(parent) in values for parent, values in parents.items()):
                params[name] = _draw(distribution, rng)
        return params


def _draw(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    half = 0.5 if isinstance(distribution, IntDistribution) else 0.0
    low, high = distribution.low - half, distribution.high + half
    value = math.exp(rng.uniform(math.log(low), math.log(high))) if distribution.log else rng.uniform(low, high)
    if half:
        return int(min(max(round(value), distribution.low), distribution.high))
    return float(value)


def bump(u: float, centre: float, width: float) -> float:
    """A Gaussian bump of height 1."""
    return math.exp(-0.5 * ((u - centre) / width) ** 2)


def position(distribution: BaseDistribution, value: float) -> float:
    """Place of a number in its range, from 0 to 1, in logarithms where the distribution is logarithmic."""
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


# Where the bumps of RLMix lie; variants other than 0 draw their own, since our sampler was chosen on variant 0.
_CENTRES = {
    "members": 0.65, "lip": 0.45, "sn": 0.0, "thr": 0.35, "std": 0.35, "aleatoric": 0.55, "lr": 0.42, "tau": 0.35,
    "ensemble": 0.25, "lipschitz": 0.60, "sindy": 0.40, "utd": 0.75,
}  # fmt: skip


def rlmix(variant: int = 0) -> Problem:
    """A made-up reinforcement-learning run: three kinds of model with settings of their own, a penalty, noise, divergence.

    Args:
        variant: 0 has the published centres; any other draws them uniformly on [0.2, 0.8], the learning rate's on
            [0.25, 0.6] so that the optimum never diverges, with the variant as the seed.
    """
    centres = dict(_CENTRES)
    if variant:
        rng = np.random.default_rng(variant)
        centres = {name: float(rng.uniform(*((0.25, 0.6) if name == "lr" else (0.2, 0.8)))) for name in _CENTRES}
    kinds: dict[str, BaseDistribution] = {
        "kind": CategoricalDistribution(("ensemble", "lipschitz", "sindy")),
        "penalty": CategoricalDistribution(("none", "std", "aleatoric")),
        "lr": FloatDistribution(1e-5, 1e-1, log=True),
        "tau": FloatDistribution(1e-3, 1e-1, log=True),
        "utd": IntDistribution(1, 20, log=True),
        "rollout": IntDistribution(1, 25),
        "members": IntDistribution(2, 10),
        "lip": FloatDistribution(0.5, 50, log=True),
        "sn": IntDistribution(1, 5),
        "thr": FloatDistribution(1e-3, 1.0, log=True),
        "coef": FloatDistribution(1e-2, 1e2, log=True),
    }
    conditions = {
        "members": {"kind": ("ensemble",)},
        "lip": {"kind": ("lipschitz",)},
        "sn": {"kind": ("lipschitz",)},
        "thr": {"kind": ("sindy",)},
        "coef": {"penalty": ("std", "aleatoric")},
    }

    def u(params: Params, name: str) -> float:
        return position(kinds[name], params[name])

    def model(kind: str, own: Callable[[str], float]) -> float:
        if kind == "ensemble":
            return 0.85 * (0.55 + 0.45 * bump(own("members"), centres["members"], 0.35))
        if kind == "lipschitz":
            lip = 0.25 + 0.75 * bump(own("lip"), centres["lip"], 0.18)
            return lip * (0.9 + 0.1 * bump(own("sn"), centres["sn"], 0.5))
        return 0.70 * (0.3 + 0.7 * bump(own("thr"), centres["thr"], 0.2))

    def penalty(name: str, own: Callable[[str], float]) -> float:
        if name == "none":
            return 0.55
        height = 0.35 + 0.65 * bump(own("coef"), centres[name], 0.15)
        return 0.9 * height if name == "std" else height

    def rest(kind: str, lr: float, tau: float, rollout: float, utd: float) -> float:
        return (
            (0.15 + 0.85 * bump(lr, centres["lr"] + 0.12 * (1 - utd), 0.13))
            * (0.6 + 0.4 * bump(tau, centres["tau"], 0.3))
            * (0.45 + 0.55 * bump(rollout, centres[kind], 0.22))
            * (0.6 + 0.4 * bump(utd, centres["utd"], 0.3))
        )

    def value(params: Params) -> float:
        def own(name: str) -> float:
            return u(params, name)

        if own("lr") + 0.25 * own("utd") > 0.95:
            return math.nan
        quality = model(params["kind"], own) * penalty(params["penalty"], own)
        quality *= rest(params["kind"], own("lr"), own("tau"), own("rollout"), own("utd"))
        return float(100 * quality**0.6)

    def best() -> float:
        """The factors share no parameter but the learning rate's centre, so that each has its maximum by itself."""
        whole = {
            name: [position(kinds[name], n) for n in range(kinds[name].low, kinds[name].high + 1)]  # type: ignore[attr-defined]
            for name in ("utd", "rollout", "members", "sn")
        }

        def nearest(name: str, centre: float) -> float:
            return min(whole[name], key=lambda u: abs(u - centre))

        utd = nearest("utd", centres["utd"])
        found = []
        for kind in kinds["kind"].choices:  # type: ignore[attr-defined]
            at = {name: nearest(name, centres[name]) for name in ("members", "sn")}
            at |= {name: centres[name] for name in ("lip", "thr")}
            rollout = nearest("rollout", centres[kind])
            lr = centres["lr"] + 0.12 * (1 - utd)
            for name in kinds["penalty"].choices:  # type: ignore[attr-defined]
                factors = model(kind, at.__getitem__) * penalty(name, lambda _, name=name: centres[name])
                found.append(100 * (factors * rest(kind, lr, centres["tau"], rollout, utd)) ** 0.6)
        return float(max(found))

    def noise_sd(value: float) -> float:
        return 2 + 24 * (value / 100) * (1 - value / 100)

    return Problem(f"rlmix-{variant}", kinds, "maximize", best(), value, conditions, noise_sd)


def rlmix_curves() -> Problem:
    """RLMix of variant 0 as runs of ten steps that learn at different speeds, so that their curves cross.

    A run has reached (1 − exp(−t/τ)) / (1 − exp(−10/τ)) of its value after step t. τ is between 1 and 12 steps: longer with
    a small learning rate, few updates per step and long rollouts, so that some of the best configurations begin slowly.
    """
    plain = rlmix(0)

    def share(params: Params, step: int) -> float:
        slow = {name: position(plain.distributions[name], params[name]) for name in ("lr", "utd", "rollout")}
        tau = 12.0 ** (0.5 * (1 - slow["lr"]) + 0.25 * (1 - slow["utd"]) + 0.25 * slow["rollout"])
        return (1 - math.exp(-step / tau)) / (1 - math.exp(-10 / tau))

    return replace(plain, name="rlmix-curves", steps=10, share=share)


def suggest(trial: Trial, problem: Problem) -> dict[str, Any]:
    """Every active parameter, parents first."""
    params: dict[str, Any] = {}
    for name, distribution in problem.distributions.items():
        parents = problem.conditions.get(name, {})
        if all(params.get(parent) in values for parent, values in parents.items()):
            params[name] = trial._suggest(name, distribution)
    return params


def _rosenbrock(a: float, b: float) -> float:
    return (100 * (b - a**2) ** 2 + (1 - a) ** 2) / 300


def _camel(a: float, b: float) -> float:
    return ((4 - 2.1 * a**2 + a**4 / 3) * a**2 + a * b + (-4 + 4 * b**2) * b**2) / 10


def _beale(a: float, b: float) -> float:
    return ((1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2) / 50


_CAMEL_MINIMUM = -0.10316284534898774  # of the function above


def func2c() -> Problem:
    """Two choices of a function of two numbers each, added (Ru et al. 2020). Minimised."""
    kinds: dict[str, BaseDistribution] = {
        "h1": CategoricalDistribution((0, 1, 2)),
        "h2": CategoricalDistribution((0, 1, 2, 3, 4)),
        "x1": FloatDistribution(-1, 1),
        "x2": FloatDistribution(-1, 1),
    }

    def value(params: Params) -> float:
        a, b = 2 * params["x1"], 2 * params["x2"]
        return sum((_rosenbrock, _camel, _beale)[min(params[h], 2)](a, b) for h in ("h1", "h2"))

    return Problem("func2c", kinds, "minimize", 2 * _CAMEL_MINIMUM, value)


def func3c() -> Problem:
    """Three binary choices of a function of two numbers each, added (Ru et al. 2020). Minimised."""
    kinds: dict[str, BaseDistribution] = {name: CategoricalDistribution((0, 1)) for name in ("h1", "h2", "h3")}
    kinds |= {"x1": FloatDistribution(-1, 1), "x2": FloatDistribution(-1, 1)}

    def value(params: Params) -> float:
        a, b = 2 * params["x1"], 2 * params["x2"]
        both = sum(_camel(a, b) if params[h] else _rosenbrock(a, b) for h in ("h1", "h2"))
        return both + (2 * _rosenbrock(a, b) if params["h3"] else 5 * _camel(a, b))

    return Problem("func3c", kinds, "minimize", 7 * _CAMEL_MINIMUM, value)


def _of_botorch(name: str, function: Any, optimum: float) -> Problem:
    import torch

    bounds = function.bounds.tolist()
    discrete = set(getattr(function, "discrete_inds", ())) | set(getattr(function, "categorical_inds", ()))
    kinds: dict[str, BaseDistribution] = {
        f"x{i}": CategoricalDistribution((0, 1)) if i in discrete else FloatDistribution(bounds[0][i], bounds[1][i])
        for i in range(function.dim)
    }

    def value(params: Params) -> float:
        return float(function(torch.tensor([float(params[name]) for name in kinds], dtype=torch.float64)))

    return Problem(name, kinds, "minimize", optimum, value)


def branin() -> Problem:
    """Two numbers, three equal minima of 0.397887."""
    from botorch.test_functions import Branin

    return _of_botorch("branin", Branin(), 0.39788735772973816)


def hartmann6() -> Problem:
    """Six numbers, a second-best basin 0.119 above the minimum of −3.32237."""
    from botorch.test_functions import Hartmann

    return _of_botorch("hartmann6", Hartmann(dim=6), -3.3223680114155147)


def ackley_mixed() -> Problem:
    """Ten binary and three plain numbers, the optimum away from the corner. Its optimum is 0."""
    import torch
    from botorch.test_functions.synthetic import AckleyMixed

    with torch.random.fork_rng():
        torch.manual_seed(0)  # it draws its optimum from torch's global generator
        function = AckleyMixed(dim=13, randomize_optimum=True)
    return _of_botorch("ackley-mixed", function, 0.0)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "branin": branin,
    "hartmann6": hartmann6,
    "ackley-mixed": ackley_mixed,
    "func2c": func2c,
    "func3c": func3c,
    **{f"rlmix-{variant}": (lambda variant=variant: rlmix(variant)) for variant in range(6)},
    "rlmix-curves": rlmix_curves,
}
