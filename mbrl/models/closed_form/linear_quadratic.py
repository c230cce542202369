"""`LinearQuadratic`: a linear system with quadratic costs, whose best plan is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.data import Task
from mbrl.errors import ConfigError, TaskError
from mbrl.models.closed_form.base import ClosedForm
from mbrl.models.domains import Domain

Matrix = Sequence[Sequence[float]]


def system_matrices(who: str, state_matrix: Matrix, action_matrix: Matrix) -> tuple[Tensor, Tensor]:
    """F `S x S` and G `S x A` in float64.

    Args:
        who: starts the message.
        state_matrix: `S` rows of `S` numbers.
        action_matrix: `S` rows of `A` numbers.

    Raises:
        ConfigError: if the sizes don't fit each other.
    """
    rows, columns = len(state_matrix), {len(row) for row in state_matrix}
    widths = {len(row) for row in action_matrix}
    if columns != {rows} or len(action_matrix) != rows or len(widths) != 1:
        raise ConfigError(
            f"{who}: expected state_matrix S x S and action_matrix S x A, got {rows} x {sorted(columns)} and "
            f"{len(action_matrix)} x {sorted(widths)}; give both one row per observation."
        )
    state, action = (torch.tensor(matrix, dtype=torch.float64) for matrix in (state_matrix, action_matrix))
    return state, action


class LinearQuadratic(ClosedForm):
    """s' = F s + G a with reward −(s'ᵀ Q s' + aᵀ R a), `a` in environment units; nothing ends an episode.

    Args:
        state_matrix: F, `S x S` numbers.
        action_matrix: G, `S x A` numbers.
        state_cost: Q, `S x S` numbers, symmetric, no eigenvalue below 0; more asks for smaller states. Default 1.
        action_cost: R, `A x A` numbers, likewise; more asks for smaller actions. Default 0.1 times 1.
        domain: as of `DynamicsModel`.

    Raises:
        ConfigError: if the sizes don't fit each other, or a cost can be negative.
    """

    former = {"domain": []}  # noqa: RUF012 - nobody changes it
    state: Tensor
    action: Tensor
    state_weight: Tensor
    action_weight: Tensor

    def __init__(
        self,
        state_matrix: Matrix,
        action_matrix: Matrix,
        state_cost: Matrix | None = None,
        action_cost: Matrix | None = None,
        domain: Sequence[Domain] = (),
    ) -> None:
        super().__init__(domain)
        state, action = system_matrices("LinearQuadratic", state_matrix, action_matrix)
        self.matrices = {
            "state": state,
            "action": action,
            "state_weight": _cost("state_cost", state_cost, len(state), 1.0),
            "action_weight": _cost("action_cost", action_cost, action.shape[1], 0.1),
        }

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        """Keeps the matrices in float64, so that no dtype of inputs loses more than its own.

        Raises:
            TaskError: if they are for other sizes than the task's.
        """
        sizes = (task.obs_size, task.action_size)
        check_shape("LinearQuadratic(action_matrix)", self.matrices["action"], sizes, "give the task's matrices", TaskError)
        for name, matrix in self.matrices.items():
            self.register_buffer(name, matrix.clone())

    def advance(self, obs: Tensor, action: Tensor) -> Tensor:
        return _times(self.state, obs) + _times(self.action, action)

    def earned(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return -(_form(self.state_weight, next_obs) + _form(self.action_weight, action))


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """`matrix` (`n x m`) times each row of `vector` (`B x m`): `B x n`.

    Column by column, since a matrix product may round a row differently in a batch of another size.
    """
    columns = matrix.to(vector).unbind(1)  # m of n
    total = columns[0] * vector[..., :1]  # B x n
    for number, column in enumerate(columns[1:], 1):
        total = torch.addcmul(total, column, vector[..., number : number + 1])
    return total


def _form(weight: Tensor, vector: Tensor) -> Tensor:
    """The quadratic form of each row, `B`."""
    parts = (_times(weight, vector) * vector).unbind(-1)  # m of B
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _cost(name: str, matrix: Matrix | None, size: int, scale: float) -> Tensor:
    if matrix is None:
        return scale * torch.eye(size, dtype=torch.float64)
    lengths = [len(row) for row in matrix]
    if lengths != [size] * size:
        raise ConfigError(f"LinearQuadratic: expected {name} to be {size} x {size}, got rows of {lengths}.")
    weight = torch.tensor(matrix, dtype=torch.float64)
    lowest = torch.linalg.eigvalsh(weight)[0].item() if torch.equal(weight, weight.T) else None
    if lowest is None or lowest < -1e-12 * weight.abs().max().item():
        found = "one that isn't symmetric" if lowest is None else f"an eigenvalue of {lowest:.3g}"
        raise ConfigError(f"LinearQuadratic: expected {name} symmetric with no eigenvalue below 0, got {found}.")
    return weight
