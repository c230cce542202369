"""Returns of plans that are executed as they are, in an exact model (`Truth`) or copies of the environments (`Copies`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.envs import VectorExperience
from mbrl.models import DynamicsModel


class Truth:
    """Executes plans in an exact model."""

    def __init__(self, model: DynamicsModel, seed: int, discount: float) -> None:
        self.model = model
        self.discount = discount
        self.generator = make_generator(model.device, seed, "truth")

    def earned(self, obs: Tensor, snapshot: Tensor | None, plans: Tensor) -> Tensor:
        """The return of plans `N x H x A` from here, `N`, computed in float64."""
        device = self.model.device
        rows = start_rows(self.model, obs.double(), snapshot).to(device)
        steps = self.model.rollout(self.model.start(rows, self.generator), plans.double().to(device))
        rewards, ends = [step.reward.double().cpu() for step in steps], [step.ended.cpu() for step in steps]
        return discounted(self.discount, rewards, ends, [torch.zeros_like(end) for end in ends])


class Copies:
    """Executes plans in copies of the environments, which replay their episodes to where they stand."""

    def __init__(self, experience: VectorExperience, discount: float) -> None:
        self.experience = experience
        self.discount = discount
        self.copy = VectorExperience(experience.task, experience.num_envs, device=experience.device)

    def earned(self, obs: Tensor, snapshot: Tensor | None, plans: Tensor) -> Tensor:
        """The return of plans `N x H x A` from here, `N`; NaN where a time limit cuts them.

        Raises:
            CheckpointError: if a replay doesn't lead to where the environment stands.
        """
        self.copy.load_state_dict(self.experience.state_dict())
        rewards, ends, cuts = [], [], []
        for action in plans.unbind(1):  # H of N x A
            rows = self.copy.step(action.clamp(-1.0, 1.0))
            rewards.append(rows.reward.double().cpu())
            ends.append(rows.terminated.cpu())
            cuts.append((rows.truncated & ~rows.terminated).cpu())
        return discounted(self.discount, rewards, ends, cuts)

    def close(self) -> None:
        """Closes the copies."""
        self.copy.close()


def discounted(discount: float, rewards: Sequence[Tensor], ends: Sequence[Tensor], cuts: Sequence[Tensor]) -> Tensor:
    """Discounted returns up to the end of the task, `B`; NaN where something else cut the episode before the last step.

    Args:
        discount: γ.
        rewards: `H` of `B`, of each step.
        ends: `H` of `B` bool, whether a step ended the task.
        cuts: `H` of `B` bool, whether it was an episode's last for another reason.
    """
    total = torch.zeros_like(rewards[0])
    alive = torch.ones_like(ends[0])
    whole = torch.ones_like(ends[0])
    weight = 1.0
    for number, (reward, end, cut) in enumerate(zip(rewards, ends, cuts, strict=True)):
        total = torch.where(alive, total + weight * reward, total)
        if number < len(rewards) - 1:
            whole &= ~(alive & cut)
        alive = alive & ~end & ~cut
        weight *= discount
    return torch.where(whole, total, torch.nan)


def start_rows(model: DynamicsModel, obs: Tensor, snapshot: Tensor | None) -> Transitions:
    """Rows of present states `N x S`, for a model's `start`; without a snapshot it says itself whether `obs` is enough."""
    task = model.built_task
    extras = {"sim_state": snapshot} if "sim_state" in model.row_extras(task) and snapshot is not None else {}
    return Transitions.from_obs(obs, task.action_size, **extras)
