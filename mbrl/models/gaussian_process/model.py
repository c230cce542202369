"""`GaussianProcess`: the change of each observation, and the reward, as a Gaussian process of observation and action.

    symbol   code       shape            meaning
    D        outputs    S, and one more if the reward is learned
    d        -          S + A            inputs
    z        -          N x d            normalised [obs, action]
    y        -          N x D            normalised [Δobs, reward]

Deisenroth2011: "PILCO: a model-based and data-efficient approach to policy search" (ICML 2011).
Titsias2009: "Variational learning of inducing variables in sparse Gaussian processes" (AISTATS 2009).
Wilson2021: "Pathwise conditioning of Gaussian processes" (JMLR 2021).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Natural, Positive, check_shape, check_whole
from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.data.streams import generator_on
from mbrl.errors import ConfigError, DataError, MbrlWarning
from mbrl.models.base import DynamicsModel
from mbrl.models.capabilities import Differentiable, HasMembers
from mbrl.models.domains import Domain
from mbrl.models.fitting.explained import explained_share
from mbrl.models.fitting.finite_rows import check_finite
from mbrl.models.gaussian_process.kernels import Hyperparameters, KernelName
from mbrl.models.gaussian_process.paths import Paths
from mbrl.models.gaussian_process.posterior import Posterior, PosteriorMoments
from mbrl.models.gaussian_process.row_choice import choose_rows, different_rows
from mbrl.networks import Normalizer

_MANY_OBSERVATIONS = 12
_ROWS = {"exact": 300, "sparse": 10_000}  # of max_rows, if it is left out


class GaussianProcess(DynamicsModel, HasMembers, Differentiable):
    """Independent Gaussian processes for the change of each observation and a reward that isn't known [Deisenroth2011].

    Each has zero mean in normalised units and a kernel with a lengthscale for each input. A fit climbs the marginal
    likelihood from the last fit's hyperparameters, or with `inference="sparse"` its bound given inducing points
    [Titsias2009]. Before any fit the model answers with its prior.

    Its members are functions drawn from the posterior [Wilson2021], anew at each fit: `var` is the noise alone, and what
    isn't known is their spread. They are drawn so that their mean is the posterior's (see `Paths`); `posterior` gives its
    moments without drawing. Good for few rows and few, smooth observations; it learns no termination.

    Args:
        members: `E`, functions drawn. More show more of what isn't known; time and memory of a prediction hardly grow.
        inference: `"exact"`, given at most `max_rows` rows, at a cost of their cube for a fit; or `"sparse"`, given more of
            them through inducing points.
        kernel: `"rbf"` for smooth changes, `"matern52"` for rougher ones.
        max_rows: rows used at most, the newest and the most telling (see `choose_rows`); None: 300 exact, 10,000 sparse.
        newest: how many of these are simply the last; more follow what was just seen, fewer cover more.
        inducing_points: `M`, if sparse: chosen among the rows as the most telling. None: 64. More are more exact.
        updates: Adam's steps on the hyperparameters of one fit; 0 leaves them as they are.
        lr: their size, in logarithms. Higher climbs faster and less steadily.
        noise_floor: lower limit of the noise's variance, in units of the targets' variance. Lower trusts clean rows more,
            and makes steps slower, since float32 no longer does for them (see docs/gaussian_process.md).
        frequencies: of the random features of drawn functions, shared by members; more are closer to the kernel, and slower.
        learn_reward: whether the reward is predicted too; `"auto"` if the task has no known reward.
        chunk_rows: rows that a prediction without gradients computes at once; their kernels should fit the cache.
        domain: as of `DynamicsModel`.

    Raises:
        ConfigError: for a number out of range, or options that contradict each other.
    """

    former = {"domain": []}  # noqa: RUF012 - nobody changes it
    fitting: ClassVar[Literal["gradient", "closed_form", "fixed"]] = "closed_form"

    def __init__(
        self,
        members: Count = 20,
        inference: Literal["exact", "sparse"] = "exact",
        *,
        kernel: KernelName = "rbf",
        max_rows: Count | None = None,
        newest: Natural = 50,
        inducing_points: Count | None = None,
        updates: Natural = 60,
        lr: Positive = 0.1,
        noise_floor: Positive = 1e-5,
        frequencies: Count = 256,
        learn_reward: Literal["auto"] | bool = "auto",
        chunk_rows: Count = 200,
        domain: Sequence[Domain] = (),
    ) -> None:
        super().__init__(domain)
        self.members = members
        self.inference: Literal["exact", "sparse"] = inference
        self.kernel: KernelName = kernel
        self.max_rows = _ROWS[inference] if max_rows is None else max_rows
        check_whole("GaussianProcess(newest=…)", newest, 0, self.max_rows)
        if inference == "exact" and inducing_points is not None:
            raise ConfigError(
                f"GaussianProcess(inducing_points=…): expected None beside inference='exact', got {inducing_points}; leave "
                "it out, or set inference='sparse'."
            )
        self.inducing_points = 64 if inducing_points is None else inducing_points
        if inference == "sparse":
            check_whole("GaussianProcess(inducing_points=…)", self.inducing_points, 1, self.max_rows)
        self.newest = newest
        self.updates = updates
        self.lr = lr
        self.noise_floor = noise_floor
        self.frequencies = frequencies
        self.learn_reward = learn_reward
        self.chunk_rows = chunk_rows

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        if task.obs_size > _MANY_OBSERVATIONS:
            warnings.warn(
                f"GaussianProcess: expected at most {_MANY_OBSERVATIONS} observations, which few rows can cover, got "
                f"{task.obs_size}; compare it with a GaussianEnsemble.",
                MbrlWarning,
                2,
            )
        self.predicts_reward: bool = task.known_reward is None if self.learn_reward == "auto" else self.learn_reward
        inputs = task.obs_size + task.action_size  # d
        self.outputs = task.obs_size + int(self.predicts_reward)  # D
        self.normalizer = Normalizer(inputs)
        self.target_normalizer = Normalizer(self.outputs)
        self.process = Posterior(self.kernel, Hyperparameters.initial(self.outputs, inputs), inputs)
        self.paths = Paths(self.process, self.members, self.frequencies, generator, self.chunk_rows)

    # prediction --------------------------------------------------------------------------------------------------------

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        """As the base class says. A member's mean is its function; without gradients rows are computed in chunks.

        Raises:
            NotBuiltError: before `build`.
            ShapeError: if the sizes are not the task's, or the leading dims differ.
        """
        z, batch = self._inputs("predict", obs, action)
        if member is not None:
            check_shape("GaussianProcess.predict(member)", member, batch, "give one member per row, see draw_balanced")
            values = self.paths(z, member.reshape(-1)).mT.reshape(*batch, self.outputs)  # B x D
        else:
            values = self.paths(z).permute(2, 1, 0).reshape(self.members, *batch, self.outputs)  # E x B x D
        mean = self.target_normalizer.inverse(values)
        var = self._in_units(self.process.noise).to(mean.dtype).expand_as(mean)
        size = self.built_task.obs_size
        return Prediction(
            mean=obs + mean[..., :size],
            var=var[..., :size],
            reward_mean=mean[..., size] if self.predicts_reward else None,
            reward_var=var[..., size] if self.predicts_reward else None,
        )

    def posterior(self, obs: Tensor, action: Tensor) -> PosteriorMoments:
        """The exact moments of one step, computed in float64; differentiable.

        Args:
            obs: `B x S`, environment units; `B` stands for any number of leading dims.
            action: `B x A` in [−1, 1].

        Raises:
            NotBuiltError: before `build`.
            ShapeError: if the sizes are not the task's, or the leading dims differ.
        """
        z, batch = self._inputs("posterior", obs.double(), action.double())
        parts = [self.process(part) for part in z.split(self.chunk_rows)]
        mean, var = (torch.cat(part, 1).mT.reshape(*batch, self.outputs) for part in zip(*parts, strict=True))  # B x D
        mean = self.target_normalizer.inverse(mean).to(obs.dtype)
        var, noise = self._in_units(var).to(obs.dtype), self._in_units(self.process.noise).to(obs.dtype)
        size = self.built_task.obs_size
        found = PosteriorMoments(obs + mean[..., :size], var[..., :size], noise[:size])
        if self.predicts_reward:
            return PosteriorMoments(found.mean, found.var, found.noise, mean[..., size], var[..., size], noise[size])
        return found

    def _inputs(self, who: str, obs: Tensor, action: Tensor) -> tuple[Tensor, torch.Size]:
        """Normalised inputs `B x d`, `B` flat, and the leading dims."""
        task, batch = self.built_task, obs.shape[:-1]
        name = f"GaussianProcess.{who}"
        check_shape(f"{name}(obs)", obs, ("B", task.obs_size), "give it observations of the model's task")
        check_shape(f"{name}(action)", action, (*batch, task.action_size), "give one action per observation")
        z = self.normalizer(torch.cat((obs, action), -1))
        return z.reshape(batch.numel(), z.shape[-1]), batch

    def _in_units(self, var: Tensor) -> Tensor:
        """Variances `… x D` of normalised targets in environment units."""
        return var * self.target_normalizer.sd.double().square()

    @property
    def drawn_members(self) -> Tensor:
        """`E` int64: all of them."""
        return torch.arange(self.members, device=self.device)

    # fitting -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        """Chooses rows, climbs from the last hyperparameters, conditions on the rows, and draws the members.

        Returns:
            `loss` and `log_likelihood` (nats per row and output; a bound if sparse), `noise` (its sd over the targets', mean
            of outputs), `rows` that were used, `equal_rows` that were left out since others say the same, `jitter_retries`
            of all factorisations, and `explained`, the share of the change that the model explains: of each row given all
            others, or if sparse of all rows.

        Raises:
            DataError: if rows aren't finite, or too few differ.
            DivergedError: if the covariance matrix has no Cholesky factor.
        """
        from mbrl.models.gaussian_process.marginal_likelihood import find_hyperparameters

        obs, next_obs = rows.obs.to(self.device).double(), rows.next_obs.to(self.device).double()  # N x S
        x = torch.cat((obs, rows.action.to(self.device).double()), -1)  # N x d
        target, largest = next_obs - obs, torch.maximum(obs.abs(), next_obs.abs())
        if self.predicts_reward:
            reward = rows.reward.to(self.device).double().unsqueeze(-1)  # N x 1
            target, largest = torch.cat((target, reward), -1), torch.cat((largest, reward.abs()), -1)  # N x D
        different = self._check(torch.cat((x, target), -1))
        self.normalizer.fit(x)
        self.target_normalizer.fit(target, largest.amax(0))
        start, noise = self.process.hyperparameters, generator_on(self.device, generator)
        z, y = self.normalizer(x[different]), self.target_normalizer(target[different])
        used = choose_rows(self.kernel, start, z, self.max_rows, self.newest, noise)
        z, y, used = z[used], y[used], different[used]
        sparse, points = self.inference == "sparse", None
        if sparse:
            points = z[choose_rows(self.kernel, start, z, self.inducing_points, 0, noise)]
        found = find_hyperparameters(
            self.kernel, z, y, start, points=points, updates=self.updates, lr=self.lr, noise_floor=self.noise_floor
        )
        of = found.hyperparameters
        if points is None:
            retries = self.process.condition(of, z, y)
            said = self.process.left_out(y)  # N x D
        else:
            retries = self.process.condition_by(of, points, z, y)
            said = torch.cat([self.process(part)[0].mT for part in z.split(self.chunk_rows)])
        self.paths.draw(self.process, noise)
        changed = self.target_normalizer.inverse(said)[:, : obs.shape[1]]  # N x S
        return {
            "loss": -found.log_likelihood.mean(),
            "log_likelihood": found.log_likelihood.mean(),
            "noise": of.noise.sqrt().mean(),
            "rows": float(len(z)),
            "equal_rows": float(len(x) - len(different)),
            "jitter_retries": float(found.retries + retries),
            "explained": explained_share(obs[used] + changed, obs[used], next_obs[used]),
        }

    def _check(self, table: Tensor) -> Tensor:
        """Places of the rows of inputs and targets `N x (d+D)` that differ.

        Raises:
            DataError: if rows aren't finite, or too few differ.
        """
        check_finite(table)
        different = different_rows(table)
        if len(different) < 2:
            raise DataError(
                f"GaussianProcess: expected at least 2 rows that differ, got {len(table)} of which {len(different)} "
                f"{'does' if len(different) == 1 else 'do'}; collect more, with actions that vary."
            )
        if self.inference == "sparse" and len(different) < self.inducing_points:
            raise DataError(
                f"GaussianProcess(inducing_points={self.inducing_points}): expected at least as many rows that differ, got "
                f"{len(different)}; lower it, or collect more rows before the first fit."
            )
        return different
