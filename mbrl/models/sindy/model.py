"""`SINDy`: the change of each observation, and the reward, as sparse sums of a library's terms.

    symbol  code       shape      meaning
    p       -          -          terms of the library
    z       -          N x (S+A)  observation and action, environment units
    y       -          N x S      what is fitted: Δobs, or the next observation

Brunton2016: "Discovering governing equations from data by sparse identification of nonlinear dynamical systems" (PNAS 2016).
Fasel2022: "Ensemble-SINDy: robust sparse model discovery in the low-data, high-noise limit" (Proc. R. Soc. A 2022).
Zolman2024: "SINDy-RL: interpretable and efficient model-based reinforcement learning" (arXiv 2403.09110; authors' code).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Limits, Natural, NonNegative, check_shape
from mbrl.data import Prediction, Task, Transitions, ValueFunction
from mbrl.errors import ConfigError, DataError, MbrlWarning
from mbrl.models.base import DynamicsModel
from mbrl.models.capabilities import Differentiable, HasMembers
from mbrl.models.domains import Domain, UnitCircle
from mbrl.models.domains.reached import reached
from mbrl.models.fitting.explained import explained_share, explained_shares
from mbrl.models.fitting.finite_rows import check_finite
from mbrl.models.sindy.aggregate import masked_mean, median
from mbrl.models.sindy.complaints import complaints, stuck
from mbrl.models.sindy.equations import Equations, equation
from mbrl.models.sindy.screening import sound_members
from mbrl.networks import ROUNDING, layout
from mbrl.networks.sparse import Library, PySINDyOptimizer, SparseMap, terms_of
from mbrl.networks.sparse.regression import Fit, Settings, regress

_JUDGED = 20_000  # rows at most, evenly spread, on which a fit is judged: predictions of all could fill the memory


class SINDy(DynamicsModel, HasMembers, Differentiable):
    """Sparse sums of library terms, found by sequentially thresholded least squares [Brunton2016].

    A term that is there can be read, and few of them are there: `equations()` prints them in environment units. Fits take
    milliseconds and need few rows, where the library holds the truth; where it doesn't (contacts, saturation), no number of
    rows helps, and the members don't show it: they share the library, so that they are wrong alike.

    With `target="change"` no result depends on units: a threshold of 0.01 drops what brings less than a hundredth of a
    target's size. `"next_obs"` fits the next observation in the numbers as they come, the authors' way [Zolman2024]: the
    threshold must then lie below the smallest coefficient times the time step.

    Several members draw rows, and with `drop_terms` terms, of their own [Fasel2022]. The reward, of a task that knows none,
    is a sparse sum too, of where the step led and the action. It learns no termination, and `var` is 0.

    Rows that begin or end outside of its `domain` are left out of fits: one wall there would bend a smooth sum everywhere.

    Args:
        members: `E`. More cost as much more, and show what rows and terms leave open, but not what the library lacks.
        library: of observation and action, in this order; one, or several whose terms are joined. None: `Library()`.
        reward_library: likewise, of next observation and action. None: `Library()`.
        threshold: smallest coefficient that stays; larger makes fewer terms.
        reward_threshold: the same of the reward; None: as `threshold`.
        alpha: ridge while terms are chosen, beside a sum over rows; larger spreads what similar terms share.
        unbias: whether the chosen terms' coefficients are those of least squares; False keeps the ridge, which shrinks them.
        target: what is fitted and what a threshold means, as above.
        aggregate: what predicts: members `"drawn"` for each rollout, or one model of all, the `"median"` of their
            coefficients, or their `"mean"` over the members that have the term.
        row_share: rows that each of several members draws, with replacement, relative to all. Fewer let them differ more.
        drop_terms: terms that each of several members is denied, drawn at random. One that lacks a needed term is badly
            wrong: take the median, or few.
        screen_steps: steps of the rollouts by which unsound members are found before any is drawn; 0 draws all.
        optimizer: one of pysindy's in place of our own thresholded least squares, with a threshold of its own; None: ours.
        learn_reward: whether the reward is predicted too; `"auto"` if the task has no known reward.
        domain: as of `DynamicsModel`. A polynomial that leaves the data diverges: a `Box` ends that. Let it exclude walls.

    Attributes:
        members: members that predictions ask: `E`, or 1 of an aggregate.

    Raises:
        ConfigError: for a number out of range, or by `build` for a library of inputs that there aren't.
    """

    fitting: ClassVar[Literal["gradient", "closed_form", "fixed"]] = "closed_form"
    sound: Tensor
    was_fitted: Tensor

    def __init__(
        self,
        members: Count = 20,
        library: Library | Sequence[Library] | None = None,
        *,
        reward_library: Library | Sequence[Library] | None = None,
        threshold: NonNegative = 0.01,
        reward_threshold: NonNegative | None = None,
        alpha: NonNegative = 0.05,
        unbias: bool = True,
        target: Literal["change", "next_obs"] = "change",
        aggregate: Literal["drawn", "median", "mean"] = "drawn",
        row_share: Annotated[float, Limits(above=0)] = 1.0,
        drop_terms: Natural = 0,
        screen_steps: Natural = 10,
        optimizer: PySINDyOptimizer | None = None,
        learn_reward: Literal["auto"] | bool = "auto",
        domain: Sequence[Domain] = (),
    ) -> None:
        super().__init__(domain)
        self.library = Library() if library is None else library
        self.reward_library = Library() if reward_library is None else reward_library
        self.threshold = threshold
        self.reward_threshold = threshold if reward_threshold is None else reward_threshold
        self.alpha, self.unbias = alpha, unbias
        self.target: Literal["change", "next_obs"] = target
        self.aggregate: Literal["drawn", "median", "mean"] = aggregate
        self.row_share, self.drop_terms = row_share, drop_terms
        self.screen_steps = screen_steps
        if optimizer is not None and (threshold, reward_threshold, alpha, unbias) != (0.01, None, 0.05, True):
            raise ConfigError(
                f"SINDy(optimizer=…): expected threshold, alpha and unbias among the options of {optimizer.name}, got them "
                "beside it; leave them out."
            )
        self.optimizer = optimizer
        self.learn_reward = learn_reward
        self.fitted_members = members
        self.members = members if aggregate == "drawn" else 1
        self._told: set[str] = set()
        self._drawn: Tensor | None = None

    def make_parameters(self, task: Task, generator: torch.Generator) -> None:
        self.predicts_reward: bool = task.known_reward is None if self.learn_reward == "auto" else self.learn_reward
        self._told, self._drawn = set(), None
        sizes = (task.obs_size, task.action_size)
        self.map = SparseMap(terms_of(self.library, *sizes), self.members, task.obs_size)
        self.bagged = SparseMap(self.map.terms, self.fitted_members, task.obs_size) if self.aggregate != "drawn" else None
        self.reward_map = None
        if self.predicts_reward:
            self.reward_map = SparseMap(terms_of(self.reward_library, *sizes), self.members, 1)
        self.register_buffer("sound", torch.ones(self.members, dtype=torch.bool))
        self.register_buffer("was_fitted", torch.zeros((), dtype=torch.bool))

    # prediction --------------------------------------------------------------------------------------------------------

    def predict(self, obs: Tensor, action: Tensor, member: Tensor | None = None) -> Prediction:
        """As the base class says. A reward is of the mean as it is projected.

        Raises:
            NotBuiltError: before `build`.
            ShapeError: if the sizes are not the task's, or the leading dims differ.
        """
        task, batch = self.built_task, obs.shape[:-1]
        check_shape("SINDy.predict(obs)", obs, ("B", task.obs_size), "give it observations of the model's task")
        check_shape("SINDy.predict(action)", action, (*batch, task.action_size), "give one action per observation")
        rows, push = obs.reshape(-1, task.obs_size), task.to_env_action(action).reshape(-1, task.action_size).to(obs)
        if member is None:
            said = self._plus(rows, self.map(torch.cat((rows, push), -1)))  # E x B x S
            reward = self._rewards(said, push)
            lead: tuple[int, ...] = (self.members, *batch)
        elif self.members == 1:
            said = self._plus(rows, self.map(torch.cat((rows, push), -1))[0])  # B x S
            reward = self._rewards(said, push)
            lead = tuple(batch)
        else:
            check_shape("SINDy.predict(member)", member, batch, "give one member per row, see draw_balanced")
            places = layout(member.reshape(-1), self.members)
            table, pushes = places.gather(rows), places.gather(push)  # G x C x S, G x C x A
            found = self._plus(table, self.map.of_lines(torch.cat((table, pushes), -1), places.members))
            said = places.restore(found)
            reward = None
            if self.reward_map is not None:
                landed = torch.cat((self.project(found), pushes), -1)
                reward = places.restore(self.reward_map.of_lines(landed, places.members)).squeeze(-1)
            lead = tuple(batch)
        mean = said.reshape(*lead, task.obs_size)
        gained = None if reward is None else reward.reshape(lead)
        return Prediction(mean, torch.zeros_like(mean), gained, None if gained is None else torch.zeros_like(gained))

    def _plus(self, obs: Tensor, said: Tensor) -> Tensor:
        """Next observations, of what was fitted."""
        if self.target == "change":
            return obs + said
        return torch.where(self.was_fitted, said, obs.expand_as(said))

    def _rewards(self, said: Tensor, push: Tensor) -> Tensor | None:
        """Rewards `E x B` or `B` of next observations `E x B x S` or `B x S`, or None where they are known."""
        if self.reward_map is None:
            return None
        landed = self.project(said)
        inputs = torch.cat((landed, push.expand(*landed.shape[:-1], -1)), -1)
        if landed.ndim == 2:
            return self.reward_map(inputs)[0, :, 0]
        return self.reward_map.of_lines(inputs, None)[..., 0]

    @property
    def drawn_members(self) -> Tensor:
        """`e` int64: the members that the last screening found sound."""
        self.built_task  # noqa: B018 - refuses before build
        if self._drawn is None or self._drawn.device != self.sound.device:
            self._drawn = self.sound.nonzero()[:, 0]  # kept, since reading how many there are would stall every step
        return self._drawn

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._drawn = None

    # fitting -----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        """Fits all members anew, in float64 on the CPU, and screens them.

        Returns:
            `loss` (1 − `explained`), `explained`, the share of the rows' change that the model explains, `explained_least`,
            that of the observation of whose change least is explained, `terms` per equation (mean of members and
            equations), `condition` number of the library, `redundant` terms that others add up to, `sound` members; with a
            learned reward `reward_explained`, the share of its variance, and `reward_terms`; and with a `Box` `outside`,
            the share of the rows that all this leaves out.

        Raises:
            DataError: if rows aren't finite, or those inside of the domain are fewer than the library's terms.
        """
        check_finite(torch.cat((rows.obs, rows.action, rows.next_obs, rows.reward.unsqueeze(-1)), -1))
        inside = self.inside(rows)
        report: dict[str, float | Tensor] = {}
        if inside is not None:
            self._check_inside(inside, rows)
            rows, report["outside"] = rows.select(inside), 1 - inside.double().mean()
        given = rows.map(lambda tensor: tensor.detach().cpu().double() if tensor.is_floating_point() else tensor.cpu())
        push = self.built_task.to_env_action(given.action)
        z = torch.cat((given.obs, push), -1)
        change = given.next_obs - given.obs
        largest = torch.maximum(given.obs.abs(), given.next_obs.abs()).amax(0)  # S
        moves = change.square().mean(0).sqrt() > 1.5 * ROUNDING * largest  # S
        y = change if self.target == "change" else given.next_obs
        fit = self._fit("library", self.map, z, y, moves if self.target == "change" else torch.ones_like(moves), generator)
        if self.target == "next_obs":
            self._tell(stuck(self.map.terms, moves, self.map.coefficients.cpu(), self.threshold))
        if self.reward_map is not None:
            landed = torch.cat((given.next_obs, push), -1)
            reward = given.reward.unsqueeze(-1)
            self._fit("reward_library", self.reward_map, landed, reward, reward.abs().amax(0) > 0, generator)
        self.was_fitted.fill_(True)
        self.sound.fill_(True)
        self._drawn = None
        if self.members > 1 and self.screen_steps > 0:
            self.sound.copy_(sound_members(self, self.members, rows, self.screen_steps, generator))
            self._drawn = None
        judged = rows.select(slice(None, None, -(-len(rows) // _JUDGED)))
        said = self.predict(judged.obs, judged.action).mean[self.drawn_members].mean(0)
        explained = explained_share(said, judged.obs, judged.next_obs)
        report |= {
            "loss": 1 - explained,
            "explained": explained,
            "explained_least": explained_shares(said, judged.obs, judged.next_obs).nan_to_num(nan=1.0).amin(),
            "terms": (self.map.coefficients != 0).double().sum(1).mean(),
            "condition": fit.condition,
            "redundant": float(len(fit.redundant)),
            "sound": self.sound.double().sum(),
        }
        if self.reward_map is not None:
            report |= {
                "reward_explained": self._reward_explained(judged),
                "reward_terms": (self.reward_map.coefficients != 0).double().sum(1).mean(),
            }
        return report

    def _check_inside(self, inside: Tensor, rows: Transitions) -> None:
        left, needed = int(inside.sum()), len(self.map.terms)
        if left == 0 or left < needed <= len(inside):  # fewer rows in all than terms are taken, none can't be
            everywhere = reached(torch.cat((rows.obs, rows.next_obs)))
            raise DataError(
                f"SINDy(domain=…): expected at least as many rows inside as the library has terms, {needed}, got {left} of "
                f"{len(inside)}, which reach from {everywhere}; widen the box, collect more before the first fit, or lower "
                "the library's degree."
            )

    def _fit(self, which: str, into: SparseMap, z: Tensor, y: Tensor, moves: Tensor, generator: torch.Generator) -> Fit:
        threshold = self.threshold if which == "library" else self.reward_threshold
        settings = Settings(
            threshold,
            self.alpha,
            self.unbias,
            self.target == "change",
            self.fitted_members,
            self.row_share,
            self.drop_terms,
            self.optimizer,
        )
        fit = regress(f"SINDy({which}=…)", into.terms, z, y, moves, settings, generator)
        if self.aggregate == "drawn":
            into.put(fit)
        else:
            together = median if self.aggregate == "median" else masked_mean
            into.put(fit, together(fit.coefficients, fit.present)[None], fit.present.any(0)[None])
            if which == "library" and self.bagged is not None:
                self.bagged.put(fit)
        circles = {place for part in self.domain if isinstance(part, UnitCircle) for pair in part.pairs for place in pair}
        self._tell(complaints(which, into.terms, fit, into.coefficients.cpu(), threshold, circles))
        return fit

    def _tell(self, sentences: Iterable[tuple[str, str]]) -> None:
        """Warns, of each kind once between builds: planners refit often."""
        for kind, sentence in sentences:
            if kind not in self._told:
                self._told.add(kind)
                warnings.warn(sentence, MbrlWarning, 5)

    def _reward_explained(self, rows: Transitions) -> Tensor:
        said = self.predict(rows.obs, rows.action).reward_mean
        assert said is not None  # only asked where it is learned
        error = (said[self.drawn_members].mean(0).double() - rows.reward).square().mean()
        spread = (rows.reward.double() - rows.reward.double().mean()).square().mean()
        return torch.where(spread > 0, 1 - error / spread, 0.0).float()

    # equations ---------------------------------------------------------------------------------------------------------

    def equations(self, names: Sequence[str] | None = None, digits: int = 3, dt: float | None = None) -> Equations:
        """The equations in environment units, as text and as LaTeX.

        Args:
            names: of the `S` observations and the `A` actions; None for x0, x1, … and u0, u1, ….
            digits: significant ones of a coefficient.
            dt: seconds of a step, to print rates of change; None prints changes per step. Beside `target="change"` alone.
        """
        task = self.built_task
        size, pushes = task.obs_size, task.action_size
        called = list(names or [f"x{i}" for i in range(size)] + [f"u{i}" for i in range(pushes)])
        check_shape("SINDy.equations(names=…)", called, (size + pushes,), "name observations and actions", ConfigError)
        if dt is not None and self.target != "change":
            raise ConfigError("SINDy.equations(dt=…): expected target='change' beside it, got 'next_obs'; leave dt out.")
        drawn, rate = self.drawn_members.cpu(), 1.0 if dt is None else dt
        coefficients = self.map.in_units().cpu()[drawn] / rate  # E x p x S
        among = coefficients if self.bagged is None else self.bagged.in_units().cpu() / rate
        left = "{}'" if self.target == "next_obs" else "Δ{}" if dt is None else "d{}/dt"
        terms = self.map.terms.names(called)
        found = [
            equation(left.format(name), terms, coefficients[..., place], among[..., place])
            for place, name in enumerate(called[:size])
        ]
        if self.reward_map is not None:
            landed = [f"{name}'" for name in called[:size]] + called[size:]
            rewards = self.reward_map.in_units().cpu()[drawn][..., 0]  # E x p
            found.append(equation("r", self.reward_map.terms.names(landed), rewards, rewards))
        return Equations(tuple(found), digits)
