"""A planner: the best of random plans, judged by the model."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.data import ReplayBuffer, Task, Transitions
from mbrl.envs import Experience
from mbrl.models import DynamicsModel
from mbrl.planners import HasDynamics, MakesPlans, Memory, Plan, Planner, PlanObjective


class Shooting(Planner, HasDynamics, MakesPlans):
    """Acts on the first action of the plan with the highest return, and refits the model as data come in.

    Args:
        dynamics: any model.
        plans: drawn at each step, `K`. More find better ones.
        horizon: steps of a plan, `H`.
        warmup_steps: random ones before the first fit.
        refit_every: real steps between fits.
    """

    def __init__(
        self, dynamics: DynamicsModel, plans: int = 64, horizon: int = 12, warmup_steps: int = 100, refit_every: int = 50
    ) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.plans, self.horizon = plans, horizon
        self.warmup_steps, self.refit_every = warmup_steps, refit_every

    def make_parts(self, task: Task, seed: int) -> None:
        self.dynamics.build(task, seed)
        self.dynamics.check_known()
        self.objective = PlanObjective(self.dynamics)
        self.buffer = ReplayBuffer(100_000, task.obs_size, task.action_size)

    def make_optimizers(self) -> list[Optimizer]:
        return self.dynamics.make_optimizers()

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        return self.plan(obs, memory, explore=explore).actions[:, 0], memory

    @torch.no_grad()
    def plan(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> Plan:
        k, n, size = self.plans, len(obs), self.built_task.action_size
        generator = memory.planning_generator
        plans = torch.rand(k * n, self.horizon, size, generator=generator, device=obs.device) * 2 - 1  # K·N x H x A
        state = self.dynamics.start(Transitions.from_obs(obs, size), generator).tile(k)
        total, alive = obs.new_zeros(k * n), torch.ones(k * n, dtype=torch.bool, device=obs.device)
        for step in self.dynamics.rollout(state, plans):
            total += alive * step.reward
            alive &= ~step.ended
        total -= 100.0 * ~alive
        value, best = total.view(k, n).max(0)  # N each
        return Plan(plans.view(k, n, self.horizon, size)[best, torch.arange(n, device=obs.device)], value)

    def tick(self, experience: Experience) -> None:
        before, memory = self.env_steps, self.collect_memory(experience.num_envs)
        memory.reset(experience.ended)
        if before < self.warmup_steps:
            shape = (experience.num_envs, self.built_task.action_size)
            action = torch.rand(shape, generator=memory.generator, device=self.device) * 2 - 1
        else:
            action, memory = self.act(experience.obs, memory, explore=True)
        rows = experience.step(action)
        self.buffer.add(rows)
        self.env_steps += len(rows)
        if self.env_steps >= self.warmup_steps and self.env_steps // self.refit_every > before // self.refit_every:
            report = self.dynamics.refit(self.buffer.all(), self.streams["model_fit"])
            self.metrics.add({f"model/{name}": value for name, value in report.items()})
        for total, length in experience.finished():
            self.metrics.add({"train/return": total, "train/episode_length": float(length)})

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return {"real": self.buffer.state_dict()}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        self.buffer.load_state_dict(state["real"])
