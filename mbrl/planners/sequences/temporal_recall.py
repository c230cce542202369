"""`TemporalRecall`: where a model says that the actions of a sequence would be taken [Patel2025].

Patel2025: "Overcoming slow decision frequencies in continuous control: model-based sequence reinforcement learning for
model-free control" (SRL, ICLR 2025, arXiv 2410.08979, and the authors' code).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from mbrl.data import Prediction
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.policies.sequence_sac import Recalled


class TemporalRecall:
    """The states ŝ_{j+1} = m(ŝ_j, a_j) of sequences from real observations, by a model's mean predictions.

    The mean is over the members that a step may draw, too. Nothing is drawn, and neither reward nor termination has to be
    known. What the model's domain projects is projected. A sequence whose predicted state is not finite stops before it.

    Args:
        dynamics: the model, built, whose states are observations.
        ends: whether sequences stop where the task's known termination or the model's own says so, or the model halts.

    Raises:
        UnsupportedError: for a model that starts from more than an observation, or for `ends` that nobody knows.
    """

    def __init__(self, dynamics: DynamicsModel, ends: bool = False) -> None:
        task, name = dynamics.built_task, type(dynamics).__name__
        needed = sorted(dynamics.row_extras(task))
        if needed:
            raise UnsupportedError(
                f"temporal recall can't use {name}: it asks what follows an observation and an action, and {name} starts "
                f"from {needed}; take a model of observations."
            )
        self.dynamics = dynamics
        self.ends = ends
        if ends and task.known_terminated is None:
            obs = torch.zeros(1, task.obs_size, device=dynamics.device, dtype=torch.float32)
            with torch.no_grad():
                said = dynamics.predict(obs, obs.new_zeros(1, task.action_size))
            if said.terminated_logit is None:
                raise UnsupportedError(
                    f"temporal recall can't use {name} with ends: neither the task nor the model knows when an episode "
                    "terminates; leave recall_ends out, or give the task's termination function."
                )

    def __call__(self, obs: Tensor, actions: Tensor, weights: Mapping[str, Tensor] | None = None) -> Recalled:
        """Predicts where `actions` are taken.

        Args:
            obs: `B x S`, where sequences begin.
            actions: `B x J x A` in [−1, 1]; if they carry a gradient, the states do.
            weights: parameters of the model in the place of its own, by name; None for its own. They are constants.
        """
        if weights is None:
            weights = {name: parameter.detach() for name, parameter in self.dynamics.named_parameters()}
        named = {f"dynamics.{name}": tensor for name, tensor in weights.items()}
        with torch.set_grad_enabled(actions.requires_grad):
            states, alive = torch.func.functional_call(_Rolled(self.dynamics, self.ends), named, (obs, actions))
        return Recalled(states, alive)


class _Rolled(nn.Module):
    """The roll-out as a module's forward pass, so that it can be made with other weights."""

    def __init__(self, dynamics: DynamicsModel, ends: bool) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.ends = ends

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        drawn = self.dynamics.drawn_members  # e
        states = [obs]  # B x S each
        alive = [torch.ones(len(obs), dtype=torch.bool, device=obs.device)]  # B each
        for action in actions.unbind(1)[:-1]:  # J − 1 of B x A
            here = states[-1]
            asked = (here.view_as(here), action.view_as(action))
            said = self.dynamics.predict(*asked)
            there = self.dynamics.project(said.mean[drawn].mean(0))  # B x S
            fine = torch.isfinite(there.detach()).all(-1).unsqueeze(-1)  # B x 1
            for each in asked:
                if each.requires_grad:  # what overflows has a gradient of NaN, though nothing comes of it
                    each.register_hook(partial(torch.where, fine, other=0.0))
            there = torch.where(fine, there, here)
            states.append(there)
            goes_on = alive[-1] & fine.squeeze(-1)
            alive.append(goes_on & ~self._ended(here, action, there, said) if self.ends else goes_on)
        return torch.stack(states), torch.stack(alive)

    @torch.no_grad()
    def _ended(self, obs: Tensor, action: Tensor, next_obs: Tensor, said: Prediction) -> Tensor:
        model = self.dynamics
        ended = model.built_task.terminated(obs, action, next_obs)  # B
        if ended is None:
            logit = said.end_logit(next_obs.expand_as(said.mean))  # E x B
            assert logit is not None  # refused by TemporalRecall
            ended = logit[model.drawn_members].sigmoid().mean(0) > 0.5
        _, ended = model.leaving(obs, next_obs, torch.zeros_like(obs[:, 0]), ended)
        halt = model.halted(obs, action, next_obs)
        return ended if halt is None else ended | halt
