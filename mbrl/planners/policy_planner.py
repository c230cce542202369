"""`PolicyPlanner`: the base of planners whose evaluations take the deterministic actions of a policy."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from mbrl.arguments import check_whole
from mbrl.planners.base import Planner
from mbrl.planners.memory import Memory
from mbrl.policies import Policy


class PolicyPlanner(Planner):
    """A planner that acts by a policy alone: what `mbrl export` writes is all that is needed to act as evaluations do."""

    @property
    @abstractmethod
    def acting_policy(self) -> Policy:
        """The policy that acts, once built."""

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        before = torch.zeros(n, self.built_task.action_size, device=self.device, dtype=torch.float32)
        return Memory(n, generator, prev_action=before)

    @torch.no_grad()
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        policy, before = self.acting_policy, memory.tensors.get("prev_action")  # older checkpoints' memories lack it
        action = policy.sample(obs, memory.generator, before)[0] if explore else policy.mode(obs, before)
        memory.tensors["prev_action"] = action
        return action, memory

    @torch.no_grad()
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        """Chooses the policy's `mode_sequence`; see `Planner.decide`."""
        check_whole(f"{type(self).__name__}.decide(length=…)", length)
        actions = self.acting_policy.mode_sequence(obs, memory.tensors.get("prev_action"), length)
        memory.tensors["prev_action"] = actions[:, -1].clone()
        return actions

    @property
    def decision_length(self) -> int:
        return self.acting_policy.trained_length
