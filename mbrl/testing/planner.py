"""`check_planner`: the conformance suite of planners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import VectorExperience
from mbrl.envs.experience import Experience
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.models import DynamicsModel, GradientModel
from mbrl.parts import parts_of
from mbrl.planners import HasDynamics, LearnsPolicy, MakesPlans, Memory, OfflinePlanner, Planner, PlanObjective
from mbrl.policies import Learner
from mbrl.testing.clauses import Clauses, noise, some_obs, through_bytes
from mbrl.testing.decisions import check_decisions
from mbrl.testing.watched import watched
from mbrl.training.metrics_file import CLOCKS

SEED = 3
ENVS = 4


def check_planner(
    make: Callable[[], Planner],
    task: Task,
    make_experience: Callable[[], Experience] | None = None,
    *,
    rows: Transitions | None = None,
    ticks: int = 3,
) -> None:
    """Checks that a planner keeps the contract of `mbrl.planners.Planner`.

    Args:
        make: makes the planner, not yet built, the same each time.
        task: the task to build it for.
        make_experience: makes environments of the task, the same each time, to train in; None makes two of the task's own.
        rows: the dataset, for a planner that learns from one, in place of environments.
        ticks: ticks before the planner is saved, and after. The planner has to refit its model in both, so choose one with
            a short warm-up.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
        ConfigError: if `make_experience` is None and the task names no environment, or there are no `rows` for a planner
            that learns from a dataset.
    """
    offline = make().learns_from == "dataset"
    if offline and rows is None:
        raise ConfigError("check_planner: expected rows for a planner that learns from a dataset, got none; give rows.")
    suite = _Suite(make, task, rows)
    suite.life()
    suite.markers(suite.built())
    suite.acting(suite.built())
    check_decisions(suite, suite.built(), task, ENVS)
    suite.moves(suite.built())
    if offline:
        suite.training(None, ticks)
        return
    if make_experience is None:
        if not task.env_id:
            raise ConfigError(
                "check_planner: expected a task that names an environment, or make_experience to train in, got neither; "
                "give make_experience."
            )
        make_experience = partial(VectorExperience, task, 2, seed=0)
    suite.training(make_experience, ticks)


class _Suite(Clauses):
    def __init__(self, make: Callable[[], Planner], task: Task, rows: Transitions | None) -> None:
        super().__init__(type(make()).__name__)
        self.make = make
        self.task = task
        self.rows = rows

    def built(self, seed: int = SEED) -> Planner:
        planner = self.make()
        with self.untouched("build"):
            planner.build(self.task, seed)
        planner.make_optimizers()
        self.given(planner)
        return planner

    def given(self, planner: Planner) -> None:
        """Gives a planner that learns from a dataset its rows."""
        if isinstance(planner, OfflinePlanner) and self.rows is not None:
            learners = _learners(planner)
            told: list[Any] = []
            with ExitStack() as stack:
                for learner in learners:
                    stack.enter_context(watched(learner, "fit_inputs", told))
                with self.untouched("take", rows=self.rows):
                    planner.take(self.rows)
            self.hold(len(told) >= len(learners), "a learner is shown the dataset when it is taken in (fit_inputs)")

    def life(self) -> None:
        """Spec and build."""
        fresh = self.make()
        try:
            _ = fresh.built_task
        except NotBuiltError:
            pass
        else:
            self.hold(False, "a planner has no task before build")
        self.hold(not fresh.automatic_optimization, "a planner optimises manually (call super().__init__())")
        twin = self.rebuilt(self.make())
        self.hold(type(twin) is type(fresh), "the spec names the planner's own class", type(twin).__name__)
        first, second = (dict(self.built().named_parameters()) for _ in range(2))
        self.equal(first, second, "the same seed gives the same parameters")
        self.hold(fresh.clock_name in CLOCKS, "clock_name is one of the clocks that runs are counted on", fresh.clock_name)
        self.hold(
            (fresh.learns_from == "dataset") == isinstance(fresh, OfflinePlanner),
            "a planner that learns from a dataset is an OfflinePlanner, which takes it in",
        )
        for clause, copied in self.copies(self.make(), "before build"):
            copied.build(self.task, SEED)
            self.equal(dict(copied.named_parameters()), first, clause)

    def markers(self, planner: Planner) -> None:
        """What the planner's markers say that it has is there."""
        if isinstance(planner, HasDynamics):
            model = getattr(planner, "dynamics", planner)
            self.hold(model is None or isinstance(model, DynamicsModel), "HasDynamics: dynamics is its model, or None")
        if isinstance(planner, LearnsPolicy):
            learner = getattr(planner, "learner", planner)
            self.hold(learner is None or isinstance(learner, Learner), "LearnsPolicy: learner is its learner, or None")
        if isinstance(planner, MakesPlans):
            self.hold(
                isinstance(getattr(planner, "objective", None), PlanObjective), "MakesPlans: objective is a PlanObjective"
            )
            self.hold(
                isinstance(getattr(planner, "horizon", None), int), "MakesPlans: horizon is the number of a plan's steps"
            )

    def acted(self, planner: Planner, explore: bool, memory: Memory | None = None) -> tuple[Tensor, Memory]:
        obs = some_obs(self.task, ENVS)
        given = planner.memory(ENVS, noise("acting")) if memory is None else memory
        with self.untouched(f"act(explore={explore})", obs=obs):
            action, after = planner.act(obs, given, explore=explore)
        self.shaped(action, (ENVS, self.task.action_size), "an action", obs)
        self.hold((action.abs() <= 1).all(), "actions lie in [−1, 1]", f"|a| up to {action.abs().max().item():.3g}")
        self.hold(not action.requires_grad, "an action carries no gradient")
        self.hold(isinstance(after, Memory), "act returns the memory to pass next time", type(after).__name__)
        return action, after

    def acting(self, planner: Planner) -> None:
        """Actions repeat with their memory, and acting moves nothing else."""
        for explore in (False, True):
            before = through_bytes(planner.streams.state_dict())
            action, memory = self.acted(planner, explore)
            again, _ = self.acted(planner, explore)
            self.equal(again, action, f"equal memories give equal actions (explore={explore})")
            streams = planner.streams.state_dict()
            self.equal(streams, before, f"acting (explore={explore}) draws from its memory, never from the streams")
            saved = through_bytes(memory.state_dict())
            following, _ = self.acted(planner, explore, memory)
            restored = planner.memory(ENVS, noise("elsewhere"))
            restored.load_state_dict(saved)
            again, _ = self.acted(planner, explore, restored)
            self.equal(again, following, f"a restored memory gives the same actions (explore={explore})")
        self.forgets(planner)

    def forgets(self, planner: Planner) -> None:
        _, memory = self.acted(planner, True)
        kept = {name: tensor.clone() for name, tensor in memory.tensors.items()}
        fresh = planner.memory(ENVS, noise("acting")).tensors
        memory.reset(torch.tensor([True, False, True, False]))
        for name, tensor in memory.tensors.items():
            self.equal(tensor[::2], fresh[name][::2], f"reset forgets {name} of the episodes in the mask")
            self.equal(tensor[1::2], kept[name][1::2], f"reset keeps {name} of the others")

    def saved(self, planner: Planner, optimizers: list[Optimizer]) -> dict[str, Any]:
        """Returns what a checkpoint holds, after going through bytes."""
        states = [optimizer.state_dict() for optimizer in optimizers]
        checkpoint: dict[str, Any] = {"state_dict": planner.state_dict(), "optimizers": states}
        planner.on_save_checkpoint(checkpoint)
        return self.reads_back(checkpoint, "a checkpoint holds tensors and plain data")

    def restored(self, checkpoint: dict[str, Any], *, training: bool = True) -> Planner:
        """A planner as a resumed `fit` makes it or, without training, `mbrl.load`."""
        state = checkpoint["mbrl"]
        self.equal(state["task"], through_bytes(self.task.to_plain()), "a checkpoint holds the task")
        planner: Planner = self.rebuilt(self.make())
        self.equal(state["spec"], planner.spec, "a checkpoint holds the spec")
        planner.build(self.task, state["seed"])
        with torch.no_grad():
            for parameter in planner.parameters():
                parameter.add_(1.0)  # so that only the checkpoint can put it right
        optimizers = planner.make_optimizers()
        for optimizer, optimizer_state in zip(optimizers, checkpoint["optimizers"], strict=True):
            optimizer.load_state_dict(optimizer_state)
        planner.on_load_checkpoint(checkpoint if training else {**checkpoint, "mbrl_buffers": {}})
        planner.load_state_dict(checkpoint["state_dict"])
        if training:
            self.given(planner)
        planner.restore(training=training)
        return planner

    def moves(self, planner: Planner) -> None:
        """Spec, state dict and checkpoint make an equal planner, alone and nested."""
        self.state_moves(planner, self.built(SEED + 1))
        twin = self.restored(self.saved(planner, planner.make_optimizers()))
        for explore in (False, True):
            self.equal(
                self.acted(twin, explore)[0],
                self.acted(planner, explore)[0],
                f"a planner from spec and checkpoint acts the same (explore={explore})",
            )

    def training(self, make_experience: Callable[[], Experience] | None, ticks: int) -> None:
        """Ticks move the clock, repeat, and continue from a checkpoint as if nothing had happened."""
        planner = self.built()
        experience, other, again = (None if make_experience is None else make_experience() for _ in range(3))
        try:
            optimizers = planner.make_optimizers()
            if experience is not None:
                experience.reset(SEED)
            self.ticks(planner, experience, ticks)
            self.evaluation(planner)
            checkpoint = self.saved(planner, optimizers)
            environments = None if experience is None else through_bytes(experience.state_dict())
            self.equal(
                self.acted(self.restored(checkpoint, training=False), False)[0],
                self.acted(planner, False)[0],
                "a trained planner that is loaded acts as it did (explore=False)",
            )

            repeated = self.built()
            optimizers = repeated.make_optimizers()
            if again is not None:
                again.reset(SEED)
            self.ticks(repeated, again, ticks)
            saved = self.saved(repeated, optimizers)
            self.equal(_untimed(saved), _untimed(checkpoint), "the same seed gives the same ticks, bit for bit")
            for clause, copied in self.copies(repeated, "after training"):
                for explore in (False, True):
                    self.equal(self.acted(copied, explore)[0], self.acted(repeated, explore)[0], clause)
                self.equal(_untimed(self.saved(copied, [])), _untimed(self.saved(repeated, [])), clause)

            resumed = self.restored(checkpoint)
            if other is not None and environments is not None:
                other.load_state_dict(environments)
            self.ticks(planner, experience, ticks)
            self.ticks(resumed, other, ticks)
            first, second = (self.saved(made, []) for made in (planner, resumed))
            self.equal(
                _untimed(second), _untimed(first), "a planner restored from a checkpoint makes the same ticks, bit for bit"
            )
        finally:
            for used in (experience, other, again):
                if used is not None:
                    used.close()

    def ticks(self, planner: Planner, experience: Experience | None, number: int) -> None:
        """Makes that many ticks, in which whatever model learns must be fitted from a buffer that a checkpoint keeps."""
        held = planner.modules() if planner.learns else ()
        models = [part for part in held if isinstance(part, DynamicsModel) and part.fitting != "fixed"]
        parts = list({id(part): part for part in parts_of(planner).values()}.values())
        fitted, stepped, told = list[Any](), list[Any](), list[Any]()
        with ExitStack() as stack:
            for model in models:
                stack.enter_context(watched(model, "refit", fitted))
                if isinstance(model, GradientModel):
                    stack.enter_context(watched(model, "update", stepped))
            for part in parts:
                stack.enter_context(watched(part, "fitted", told))
            for learner in _learners(planner):
                stack.enter_context(watched(learner, "fit_inputs", told))
            self._ticks(planner, experience, number)
        for learner in _learners(planner) if fitted and experience is not None else ():
            self.hold(
                any(learner is other for other in told), "after each refit a learner is shown the real rows (fit_inputs)"
            )
        for part in parts if fitted else ():
            times = sum(part is other for other in told)
            self.hold(
                times == len(fitted),
                f"after each refit all parts are shown the model and the rows, once (fitted_parts); {len(fitted)} refits "
                f"showed them to {type(part).__name__} {times} times",
            )
        for model in models:
            name = type(model).__name__
            if experience is None:
                first = planner.clock == number  # it may fit once, before its first update
                self.hold(
                    not first or any(model is other for other in fitted), f"a model that learns is fitted; {name} wasn't"
                )
                continue
            self.hold(
                any(model is other for other in (*fitted, *stepped)),
                f"a model that learns is refitted or updated while its planner trains; {number} ticks of "
                f"{experience.num_envs} environments saw no refit of {name} (give more, or shorten the planner's warm-up)",
            )
            self.hold(
                any(planner.buffers_state().values()),
                f"a planner that refits its model keeps the rows in buffers_state; {name} was fitted to rows that no "
                "checkpoint has",
            )
        if isinstance(planner, OfflinePlanner):
            rows = planner.real_buffer.all().obs
            kept = _tensors(planner.buffers_state())
            self.hold(
                not any(item.ndim == 2 and torch.equal(item[: len(rows), : rows.shape[1]].to(rows), rows) for item in kept),
                "the dataset stays out of buffers_state: a resumed run reads it again",
            )

    def _ticks(self, planner: Planner, experience: Experience | None, number: int) -> None:
        count = 1 if experience is None else experience.num_envs
        what = (
            "a tick counts as one update" if experience is None else f"a tick of {count} environments counts as many steps"
        )
        kept = {} if planner.learns else {"state_dict, of a planner that doesn't learn,": planner.state_dict()}
        for _ in range(number):
            before = planner.clock
            with self.untouched("a tick", **kept):
                planner.tick(experience)
            taken = planner.clock - before
            self.hold(taken == count, what, taken)

    def evaluation(self, planner: Planner) -> None:
        before = self.saved(planner, [])
        memory = planner.memory(ENVS, make_generator("cpu", "evaluation"))
        self.acted(planner, False, memory)
        self.equal(self.saved(planner, []), before, "evaluation has its own memory and moves nothing that training keeps")


def _learners(planner: Planner) -> list[Learner]:
    return [part for part in planner.modules() if isinstance(part, Learner)]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for item in value.values() if isinstance(value, Mapping) else ():
        yield from _tensors(item)


def _untimed(value: Any) -> Any:
    """Leaves out the metrics that hold wall-clock times, which no run repeats."""
    if isinstance(value, Mapping):
        return {key: _untimed(item) for key, item in value.items() if not str(key).startswith("time/")}
    return value
