"""`SAC`: soft actor-critic [Haarnoja2018], as MBPO uses it [Janner2019].

One update, in this order (each part sees what the one before it has changed):

    critics      y = r + γ(1 − d)(min_j Q̄_j(s', a') − α log π(a'|s')),  loss ½ mean (Q_j − y)² summed over j
    actor        mean(α log π(ã|s) − min_j Q_j(s, ã)),  ã reparameterised, critics held constant
    temperature  −log α · mean(log π(ã|s) + H̄)
    targets      Q̄ ← τQ + (1 − τ)Q̄

`d` is termination only: a truncated episode still bootstraps. With `target_subset` the first minimum is over so many targets
that are drawn anew for each update, and the actor ascends the mean of all critics [Chen2021, algorithm 1].

| paper | code |
|---|---|
| Q, Q̄ | `critics`, `target_critics` |
| α, H̄ | `temperature`, `entropy_target` |
| γ, τ | `discount`, `target_rate` |

Ball2023: "Efficient online reinforcement learning with offline data" (RLPD, ICML 2023).
Chen2021: "Randomized ensembled double Q-learning: learning fast without a model" (REDQ, ICLR 2021).
Fujimoto2018: "Addressing function approximation error in actor-critic methods" (TD3, ICML 2018).
Haarnoja2018: "Soft actor-critic algorithms and applications" (arXiv 1812.05905).
Hiraoka2022: "Dropout Q-functions for doubly efficient reinforcement learning" (DroQ, ICLR 2022).
Janner2019: "When to trust your model: model-based policy optimization" (MBPO, arXiv 1906.08253 and the authors' code).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mbrl.arguments import Count, Limits, NonNegative, Positive, Range, ShareBelowOne, Widths
from mbrl.data import Generator, Task, Transitions, make_generator
from mbrl.errors import ConfigError, NotBuiltError, UnsupportedError
from mbrl.networks import Initial, LeanAdam, LipschitzConstraint, Norm, Normalizer, Precision
from mbrl.policies.actor_critic import ActorCritic
from mbrl.policies.base import BoundCriticTerm
from mbrl.policies.critics import Critics
from mbrl.policies.half_cosine import half_cosine, tell_if_of_other_length
from mbrl.policies.reward_size import tell_of_reward_size
from mbrl.policies.soft_target import soft_target
from mbrl.policies.tanh_gaussian_policy import TanhGaussianPolicy


class SAC(ActorCritic):
    """Soft actor-critic with a learned temperature.

    Args:
        hidden: units of each hidden layer, of the actor and of every critic.
        critics: `J`; the target and the actor take the smallest value. More are more pessimistic, and slower.
        discount: γ of one real step.
        actor_lr: Adam's step size for the actor.
        critic_lr: Adam's step size for the critics.
        temperature_lr: Adam's step size for log α, where it is learned.
        target_rate: τ; higher follows the critics faster, and is less stable.
        target_every: updates between two steps of the targets.
        temperature: `"learned"` (starts at `initial_temperature`), or the fixed α. Higher explores more. MBPO learns it;
            several ports fix 0.2.
        initial_temperature: α before the first update, where it is learned.
        entropy_target: H̄ in nats at actions in [−1, 1], or `"auto"` for −A. Higher keeps more randomness.
        critic_loss: `"half"` weighs the squared error by ½ (MBPO authors' code), `"full"` by 1. Adam undoes the factor
            but for critic terms added to it.
        log_sigma: `"clip"` or `"tanh"`: how log σ is kept in its range, see `TanhGaussianPolicy`.
        log_sigma_range: smallest and largest log σ.
        precision: `"bf16"` multiplies hidden layers in bfloat16; parameters, last layers, losses and optimisers stay in
            float32. Faster where the processor has bfloat16 products.
        normalize_obs: whether policy and critics see observations as (s − mean) / sd, by statistics of the real rows that
            `fit_inputs` takes and that are constant in between; until the first, observations as they are. Then nothing
            depends on their units. Each renewal changes what the networks see. Off in SAC's and MBPO's papers and code.
        critic_constraint: keeps the critics, online and target alike, within a Lipschitz budget, such as `SpectralClip`;
            never the actor. Its budget is a number here, since nothing tells beforehand how steep values are. None leaves
            them free.
        backup_entropy: whether the critics' target holds −α log π(a'|s'). False leaves it to the actor alone, as COMBO and
            MOBILE do.
        target_floor: smallest target, in units of values (the reward's); lower targets are raised to it. MOBILE takes 0,
            which is right only where no return is negative. None, or a floor below all returns, changes nothing.
        initial: first weights: `"mbpo"`, or `"ravl"` as the codes of EDAC and RAVL draw them, whose policy begins alike in
            all states and whose values begin near 0; see `ReluStack`, `TanhGaussianPolicy` and `Critics`.
        actor_lr_cosine: updates over which the actor's step size falls from `actor_lr` to 0, along half a cosine, as in
            published settings of MOPO, MOBILE and COMBO; after them the policy stays. `"auto"` takes as many as the run
            makes, and one that is resumed for longer goes on along the longer one's. A run of another length than a number
            says so. None keeps the step size. Fewer settle the policy sooner.
        actor_every: updates of the critics for one of actor and temperature, the first included [Fujimoto2018, section 5.2].
            More is cheaper and lets critics settle in between; the actor then learns as much less.
        critic_norm: `"layer"` normalises the critics' hidden layers before each ReLU [Hiraoka2022], which bounds values
            where nothing is known [Ball2023]; not beside a `critic_constraint`.
        critic_dropout: probability that a unit of the critics' hidden layers is dropped, in updates alone, targets and what
            the actor ascends included [Hiraoka2022: beside `"layer"`, 0.1 and far less by task]. Higher blurs values more.
        target_subset: M, critics whose smallest value is the target, drawn from all `critics` for each update; the actor
            then ascends their mean [Chen2021: 2 of 10; Hiraoka2022: 2 of 2]. More is more pessimistic. None: all, whose
            smallest value the actor ascends too.

    Raises:
        ConfigError: if an option lies outside its range, or more critics are drawn than there are.
    """

    former = {  # noqa: RUF012 - nobody changes it
        "normalize_obs": False,
        "critic_constraint": None,
        "backup_entropy": True,
        "target_floor": None,
        "initial": "mbpo",
        "actor_lr_cosine": None,
        "actor_every": 1,
        "critic_norm": "none",
        "critic_dropout": 0.0,
        "target_subset": None,
    }

    discount: float
    log_temperature: Tensor
    critics_class: type[Critics] = Critics

    def __init__(
        self,
        hidden: Widths = (256, 256),
        critics: Count = 2,
        discount: ShareBelowOne = 0.99,
        actor_lr: Positive = 3e-4,
        critic_lr: Positive = 3e-4,
        temperature_lr: Positive = 3e-4,
        target_rate: Annotated[float, Limits(above=0, most=1)] = 0.005,
        target_every: Count = 1,
        temperature: NonNegative | Literal["learned"] = "learned",
        initial_temperature: Positive = 1.0,
        entropy_target: float | Literal["auto"] = "auto",
        critic_loss: Literal["half", "full"] = "half",
        log_sigma: Literal["clip", "tanh"] = "clip",
        log_sigma_range: Range = (-20.0, 2.0),
        precision: Precision = "fp32",
        normalize_obs: bool = False,
        critic_constraint: LipschitzConstraint | None = None,
        backup_entropy: bool = True,
        target_floor: float | None = None,
        initial: Initial = "mbpo",
        actor_lr_cosine: Literal["auto"] | Count | None = None,
        actor_every: Count = 1,
        critic_norm: Norm = "none",
        critic_dropout: ShareBelowOne = 0.0,
        target_subset: Count | None = None,
    ) -> None:
        super().__init__()
        self.hidden, self.critic_count, self.discount = tuple(hidden), critics, discount
        self.actor_lr, self.critic_lr, self.temperature_lr = actor_lr, critic_lr, temperature_lr
        self.target_rate, self.target_every = target_rate, target_every
        self.fixed_temperature = None if isinstance(temperature, str) else temperature
        self.initial_temperature = initial_temperature
        self.entropy_target = 0.0 if isinstance(entropy_target, str) else float(entropy_target)  # "auto" waits for A
        self.automatic_entropy_target = entropy_target == "auto"
        self.critic_weight = 0.5 if critic_loss == "half" else 1.0
        self.log_sigma, self.log_sigma_range = log_sigma, log_sigma_range
        self.precision: Precision = precision
        self.normalize_obs = normalize_obs
        if critic_constraint is not None and critic_constraint.budget is None:
            raise ConfigError(
                f"{type(self).__name__}(critic_constraint=…): expected a number for its budget, got 'auto', which is for "
                "models and their data; set budget."
            )
        if critic_constraint is not None and critic_norm != "none":
            raise ConfigError(
                f"{type(self).__name__}(critic_norm=…): expected none beside a critic_constraint, whose bound it would "
                f"break, got {critic_norm!r}; leave one of the two out."
            )
        if target_subset is not None and target_subset > critics:
            raise ConfigError(
                f"{type(self).__name__}(target_subset=…): expected at most the {critics} critics that there are, got "
                f"{target_subset}; raise critics, or lower it."
            )
        self.critic_constraint, self.backup_entropy, self.target_floor = critic_constraint, backup_entropy, target_floor
        self.initial: Initial = initial
        self.actor_lr_cosine = actor_lr_cosine
        self.cosine_updates = None if isinstance(actor_lr_cosine, str) else actor_lr_cosine  # "auto" waits for the run
        self.actor_every, self.critic_norm, self.critic_dropout = actor_every, critic_norm, critic_dropout
        self.target_subset = target_subset
        self._rewards_seen = False  # whether their size was looked at, which is said once
        self._optimizers: tuple[LeanAdam, LeanAdam] | None = None

    # life ------------------------------------------------------------------------------------------------------------

    def build(self, task: Task, seed: int = 0) -> None:
        generator = make_generator("cpu", seed, "sac", "init")
        sizes = (task.obs_size, task.action_size, generator, self.hidden)
        normalizer = Normalizer(task.obs_size) if self.normalize_obs else None  # one, which all three share
        self.policy = self.make_policy(task, generator, normalizer)
        self.critics = self.critics_class(
            *(*sizes, self.critic_count, self.precision, normalizer, self.critic_constraint, self.initial),
            *(self.critic_norm, self.critic_dropout),
        )
        self.target_critics = copy.deepcopy(self.critics).requires_grad_(False)
        self.target_critics.normalizer = normalizer
        if self.automatic_entropy_target:
            self.entropy_target = -float(task.action_size)
        if self.fixed_temperature is None:
            self.log_temperature = nn.Parameter(torch.tensor(math.log(self.initial_temperature), dtype=torch.float32))
        else:
            fixed = math.log(self.fixed_temperature) if self.fixed_temperature > 0 else -math.inf
            self.register_buffer("log_temperature", torch.tensor(fixed, dtype=torch.float32))
        self.updates, self.seed, self._rewards_seen = 0, seed, False
        self._optimizers = self._followed = None

    def make_policy(self, task: Task, generator: torch.Generator, normalizer: Normalizer | None) -> Any:
        """The policy that `build` makes; `generator` draws its weights."""
        shape = (self.hidden, self.log_sigma, self.log_sigma_range, self.precision, normalizer, self.initial)
        return TanhGaussianPolicy(task.obs_size, task.action_size, generator, *shape)

    def make_optimizers(self) -> list[Optimizer]:
        self._need_build()
        actor: list[dict[str, Any]] = [{"params": list(self.policy.parameters()), "lr": self.actor_lr}]
        if self.fixed_temperature is None:
            actor.append({"params": [self.log_temperature], "lr": self.temperature_lr})
        self._optimizers = (LeanAdam(self.critics.parameters(), lr=self.critic_lr), LeanAdam(actor))
        return list(self._optimizers)

    def get_extra_state(self) -> dict[str, int]:
        return {"updates": self.updates, "seed": self.seed}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.updates, self.seed = state["updates"], state.get("seed", self.seed)

    # learning --------------------------------------------------------------------------------------------------------

    def update(
        self, batch: Transitions, generator: Generator, critic_terms: Sequence[BoundCriticTerm] = ()
    ) -> dict[str, Tensor]:
        """One update of critics, of actor and temperature where it is their turn, and of targets.

        Args:
            batch: `B` transitions.
            generator: draws the actions a' and ã.
            critic_terms: what is added to the critics' loss.

        Returns:
            Scalars on the device: `critic_loss`, `actor_loss`, `temperature`, `entropy` (nats, at `batch.obs`) and
            `q_mean`, the mean value of the batch's actions; those of the actor's part where it had its turn.

        Raises:
            NotBuiltError: before `build` and `make_optimizers`.
            UnsupportedError: with `actor_lr_cosine="auto"` outside a run.
        """
        report = self.update_critics(batch, generator, critic_terms)
        if self.actor_due:
            report.update(self.update_actor(batch, generator))
        self.end_update()
        return report

    @property
    def actor_due(self) -> bool:
        """True if actor and temperature have their turn at the present update."""
        return self.updates % self.actor_every == 0

    def update_critics(
        self, batch: Transitions, generator: Generator, critic_terms: Sequence[BoundCriticTerm] = ()
    ) -> dict[str, Tensor]:
        """The critics' part of an update, arguments as in `update`; returns `critic_loss` and `q_mean`."""
        optimizer, _ = self._ready()
        target = self.target(batch, generator)  # B
        values = self._values_of(batch)  # J x B
        loss = (values - target).square().mean(-1).sum() * self.critic_weight
        own = (self.critics, self.target_critics, self.policy, self.log_temperature.detach().exp(), self.discount)
        known = values if self.critic_dropout == 0 else None  # a term compares values among which nothing is dropped
        for term in critic_terms:
            loss = loss + term(batch, *own, known)
        penalty = self.critics.penalty(batch.obs, batch.action)
        if penalty is not None:
            loss = loss + penalty
        optimizer.drop_gradients()
        loss.backward()
        optimizer.advance()
        self.critics.follow()
        return {"critic_loss": loss.detach(), "q_mean": values.detach().mean()}

    def _values_of(self, batch: Transitions) -> Tensor:
        return self.critics(batch.obs, batch.action, masks=self._masks("critics"))  # J x B

    def update_actor(self, batch: Transitions, generator: Generator) -> dict[str, Tensor]:
        """The actor's and the temperature's part of an update; returns `actor_loss`, `temperature` and `entropy`."""
        self._ready()
        temperature = self.log_temperature.detach().exp()
        action, log_prob = self.policy.sample(batch.obs, generator, batch.extras.get("prev_action"))  # B x A, B
        values = self.critics(batch.obs, action, frozen=True, masks=self._masks("actor"))  # J x B
        loss = (temperature * log_prob - self.actor_value(values)).mean()
        return self.descend_actor(loss, -log_prob.detach().mean(), temperature)

    def descend_actor(self, loss: Tensor, entropy: Tensor, temperature: Tensor) -> dict[str, Tensor]:
        """One step of actor and temperature, along a `loss` at this temperature and towards the target of the `entropy`."""
        _, optimizer = self._ready()
        optimizer.drop_gradients()
        loss.backward()
        if self.fixed_temperature is None:
            self.log_temperature.grad = entropy - self.entropy_target  # of −log α · mean(log π + H̄)
        if self.cosine_updates is not None:
            optimizer.param_groups[0]["lr"] = self.actor_lr * half_cosine(self.updates / self.cosine_updates)
        optimizer.advance()
        return {"actor_loss": loss.detach(), "temperature": temperature, "entropy": entropy}

    def end_update(self) -> None:
        """Counts the update, and has the targets follow when it is their turn."""
        self.updates += 1
        if self.updates % self.target_every == 0:
            self.update_targets()

    def _ready(self) -> tuple[LeanAdam, LeanAdam]:
        """The optimisers of critics and actor; refuses what `update` does."""
        if self._optimizers is None:
            self._need_build()
            who = f"{type(self).__name__}.update"
            raise NotBuiltError(f"{who} was called before make_optimizers(), whose optimisers it steps; call it first.")
        if self.actor_lr_cosine == "auto" and self.cosine_updates is None:
            missing = "expected a run, whose length it takes, got none; set a number."
            raise UnsupportedError(f"SAC(actor_lr_cosine='auto'): {missing}")
        return self._optimizers

    def take_length(self, updates: int) -> None:
        if self.actor_lr_cosine == "auto":
            self.cosine_updates = updates
        elif isinstance(self.actor_lr_cosine, int):
            tell_if_of_other_length(self.actor_lr_cosine, updates)

    def fit_inputs(self, rows: Transitions) -> None:
        self._need_build()
        if self.updates == 0 and not self._rewards_seen:
            self._rewards_seen = True
            lr = self.temperature_lr if self.fixed_temperature is None else None
            tell_of_reward_size(rows.reward, self.log_temperature.exp().item(), lr)
        if self.policy.normalizer is not None:
            self.policy.normalizer.fit(rows.obs)

    @torch.no_grad()
    def target(self, batch: Transitions, generator: Generator) -> Tensor:
        """The target that the critics are fitted to, `B`: r + γ(1 − d)(min_j Q̄_j(s', a') − α log π(a'|s')).

        Only `terminated` stops the bootstrap; a truncated transition is valued like any other. Without `backup_entropy` the
        last term is left out; `target_floor` is applied at the end.
        """
        action, log_prob = self.policy.sample(batch.next_obs, generator, batch.action)  # B x A, B
        smallest = self._target_values(batch.next_obs, action).amin(0)  # B
        weight = self.log_temperature.exp() if self.backup_entropy else torch.zeros_like(self.log_temperature)
        target = soft_target(batch.reward, batch.terminated, smallest, log_prob, weight, self.discount)
        return target if self.target_floor is None else target.clamp_min(self.target_floor)
