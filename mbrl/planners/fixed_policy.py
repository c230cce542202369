"""`FixedPolicy`: acts with a policy that is given, and learns nothing."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

from mbrl.data import Task
from mbrl.planners.policy_planner import PolicyPlanner
from mbrl.policies import BuildablePolicy, Learner, Policy


class FixedPolicy(PolicyPlanner):
    """A policy as a planner, so that it is tested, collected with and loaded like any other.

    Evaluations take its deterministic action, exploration a sample. A fit steps the environments and changes nothing.

    Args:
        policy: what acts: a policy, or a learner for the one that it has, trained or not. One that was built already stays
            as it is, such as `planner.learner` of a run that was loaded; its parameters go into checkpoints.
    """

    def __init__(self, policy: Learner | BuildablePolicy) -> None:
        super().__init__()
        self.policy = policy

    def make_parts(self, task: Task, seed: int) -> None:
        built = hasattr(self.policy, "policy") if isinstance(self.policy, Learner) else self.policy.task is not None
        if not built:
            self.policy.build(task, seed)

    def make_optimizers(self) -> list[Optimizer]:
        return []

    @property
    def learns(self) -> bool:
        return False

    @property
    def acting_policy(self) -> Policy:
        """The policy that acts."""
        return self.policy.policy if isinstance(self.policy, Learner) else self.policy

    def tick(self, experience: Any) -> None:
        """Steps each environment once."""
        memory = self.collect_memory(experience.num_envs)
        memory.reset(experience.ended)
        action, _ = self.act(experience.obs, memory, explore=True)
        self.env_steps += len(experience.step(action))
        for total, length in experience.finished():
            self.metrics.add({"train/return": total, "train/episode_length": float(length)})
