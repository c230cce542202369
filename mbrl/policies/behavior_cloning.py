"""`BC`: behaviour cloning [Pomerleau1991], by maximum likelihood of the recorded actions.

    loss = −mean_i log π(a_i|s_i)

π is the tanh-Gaussian policy of `SAC`, so that both act and are evaluated alike.

Pomerleau1991: "Efficient training of artificial neural networks for autonomous navigation" (Neural Computation 3(1)).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import Positive, Widths
from mbrl.data import CriticsAsked, Generator, Task, Transitions, make_generator
from mbrl.errors import NotBuiltError, UnsupportedError
from mbrl.networks import LeanAdam, Normalizer
from mbrl.policies.base import BoundCriticTerm, Learner
from mbrl.policies.tanh_gaussian_policy import TanhGaussianPolicy

# How far inside ±1 an action counts at most. The likelihood is that of atanh(a), infinite at the bounds where recorded
# actions often lie; float32's last number before 1 has atanh 8.7, and a few such rows would outweigh all others in the
# squared error. 1e-3 gives 3.8, and moves an action by no more than 0.05 % of its range.
EPSILON = 1e-3

# A recorded policy that draws nothing has no largest likelihood: σ would shrink for ever. e⁻⁵ stops it.
LOG_SIGMA_RANGE = (-5.0, 2.0)


class BC(Learner):
    """Behaviour cloning: imitates the actions of its rows, whatever they were worth.

    It has no critics, and learns nothing from a model's rollouts, whose actions are its own.

    Args:
        hidden: units of each hidden layer. More fit a more intricate policy, and overfit a small dataset sooner.
        lr: Adam's step size. Higher learns faster, and less stably.
        normalize_obs: whether the policy sees observations as (s − mean) / sd, by statistics of the real rows that
            `fit_inputs` takes; until then, as they are. Without it units matter: of millimetres it learns little.

    Raises:
        ConfigError: if an option lies outside its range.
    """

    has_critics = False
    learns_from_rollouts = False

    policy: TanhGaussianPolicy

    def __init__(self, hidden: Widths = (256, 256), lr: Positive = 3e-4, normalize_obs: bool = True) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        self.lr = lr
        self.normalize_obs = normalize_obs
        self._optimizer: LeanAdam | None = None

    def build(self, task: Task, seed: int = 0) -> None:
        generator = make_generator("cpu", seed, "bc", "init")
        normalizer = Normalizer(task.obs_size) if self.normalize_obs else None
        self.policy = TanhGaussianPolicy(
            task.obs_size, task.action_size, generator, self.hidden, "tanh", LOG_SIGMA_RANGE, normalizer=normalizer
        )
        self._optimizer = None

    def make_optimizers(self) -> list[Optimizer]:
        self._need_build()
        self._optimizer = LeanAdam(self.policy.parameters(), lr=self.lr)
        return [self._optimizer]

    def _need_build(self) -> None:
        if not hasattr(self, "policy"):
            raise NotBuiltError("BC was used before build(task), which makes its parameters; call it first.")

    def fit_inputs(self, rows: Transitions) -> None:
        self._need_build()
        if self.policy.normalizer is not None:
            self.policy.normalizer.fit(rows.obs)

    def update(
        self, batch: Transitions, generator: Generator, critic_terms: Sequence[BoundCriticTerm] = ()
    ) -> dict[str, Tensor]:
        """One step up the mean log-likelihood of the batch's actions.

        Args:
            batch: `B` transitions, of which `obs` `B x S` and `action` `B x A` in [−1, 1] count. Actions beyond
                ±(1 − `EPSILON`) count as those.
            generator: unused, since nothing is drawn.
            critic_terms: none may be given.

        Returns:
            Scalars on the device, as before the step: `log_likelihood`, nats per row, and `mean_error`, the mean distance
            between the policy's deterministic action and the batch's, per action dimension.

        Raises:
            NotBuiltError: before `build` and `make_optimizers`.
            UnsupportedError: for critic terms.
        """
        if self._optimizer is None:
            self._need_build()
            raise NotBuiltError("BC.update was called before make_optimizers(), whose optimiser it steps; call it first.")
        if critic_terms:
            raise UnsupportedError(
                f"BC.update: expected no critic terms, since it has no critics, got {type(critic_terms[0].term).__name__}; "
                "leave it out, or take another learner, such as SAC."
            )
        action = batch.action.clamp(-1 + EPSILON, 1 - EPSILON)  # B x A
        log_likelihood = self.policy.log_prob(batch.obs, action).mean()
        error = (self.policy.mode(batch.obs).detach() - batch.action).abs().mean()
        self._optimizer.drop_gradients()
        (-log_likelihood).backward()
        self._optimizer.advance()
        return {"log_likelihood": log_likelihood.detach(), "mean_error": error}

    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        """Refuses, since there are no critics.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "BC.value: expected a learner with critics, got BC, which has none; take another learner, such as SAC."
        )
