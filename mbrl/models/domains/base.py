"""`Domain`: the contract of what is known of the states that a model samples."""

from __future__ import annotations

from abc import ABC

from torch import Tensor

from mbrl.data import Task
from mbrl.spec import Part


class Domain(Part, ABC):
    """A set of states in which a model's rollouts stay, because it puts them there or ends those that leave.

    Any model takes some (`DynamicsModel(domain=…)`). They see what was sampled, once, before reward and termination: first
    all of them project, in their order, then all look who left. By default nothing happens.

    Attributes:
        penalty: taken off the reward of a step that `ended` ends, reward units.
    """

    penalty: float = 0.0

    def check(self, task: Task) -> None:
        """Refuses a task whose observations it can't be a domain of (`ConfigError`); called by a model's `build`."""

    def project(self, next_obs: Tensor) -> Tensor:
        """Puts sampled next observations (`B x S`, any leading dims) into the set; twice is the same as once."""
        return next_obs

    def halted(self, obs: Tensor, next_obs: Tensor) -> Tensor | None:
        """Says which steps `obs` to `next_obs` (`B x S`) stop their rollouts as by a time limit, `B` bool; None: none."""
        return None

    def ended(self, obs: Tensor, next_obs: Tensor) -> Tensor | None:
        """Says after which steps `obs` to `next_obs` (`B x S`) the task counts as over, `B` bool; None: none ever."""
        return None

    def outside(self, obs: Tensor) -> Tensor | None:
        """Says which states (`B x S`) don't lie in the set, `B` bool; None: there are none."""
        return None
