"""An exact model of the environment, to say what really follows states that no dataset holds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.analysis.forecasts.normalised_errors import scale_of, total_of
from mbrl.data import Task, Transitions
from mbrl.data.streams import generator_on
from mbrl.errors import ConfigError, DataError, MbrlError
from mbrl.models import CartPole, DynamicsModel, Exact, Pendulum, SimulatorModel, require
from mbrl.spec import from_spec

AUTO, NONE = "auto", "none"

_TRIED = 256  # rows of the dataset on which a truth has to be right
_OFF = 0.01  # standard deviations of the change: float32 observations, and what contacts make of them
_SHARE = 0.05  # of these rows that it may not know: observations at a clip


def find_truth(
    choice: str, task: Task, rows: Transitions, generator: torch.Generator, allow: Sequence[str] = ()
) -> tuple[DynamicsModel | None, str]:
    """The exact model of a task that agrees with a dataset.

    Args:
        choice: `auto` for the closed form or the simulator, whichever there is; `none`; or a class: its name in
            `mbrl.models`, or a dotted name.
        task: what it is of.
        rows: the dataset, on which it is tried: one that disagrees is no truth.
        generator: draws the rows that are tried.
        allow: modules besides `mbrl` in which the class may lie.

    Returns:
        The model, built, or None; and a sentence that says which it is, or why there is none.

    Raises:
        MbrlError: if a class that was named can't be the truth; `auto` does without.
    """
    if choice == NONE:
        return None, "There is no exact model, since none was asked for."
    if choice != AUTO:
        path = choice if "." in choice else f"mbrl.models.{choice}"
        truth = from_spec({"class_path": path, "init_args": {}}, allow)
        if not isinstance(truth, DynamicsModel):
            raise ConfigError(f"truth: expected an exact dynamics model, got {choice}; name another class, or give {NONE}.")
        require(truth, Exact, "truth", "the truth has to be an exact model", f"name one that is, or give {NONE}")
        truth.build(task)
        wrong = _disagreement(truth, rows, generator)
        if wrong is not None:
            raise DataError(f"truth: expected {choice} to lead where the dataset's steps led, but {wrong}; give {NONE}.")
        return truth, f"The truth is {type(truth).__name__}, which agrees with the dataset."
    reason = "no closed form or simulator is known for this task"
    for candidate in (Pendulum(), CartPole(), SimulatorModel(threads=1)):
        try:
            candidate.build(task)
            wrong = _disagreement(candidate, rows, generator)
        except MbrlError as error:
            if isinstance(candidate, SimulatorModel):
                reason = str(error).rstrip(".")
            continue
        if wrong is None:
            return candidate, f"The truth is {type(candidate).__name__}, which agrees with the dataset."
        reason = f"{type(candidate).__name__} disagrees with the dataset: {wrong}"
        break
    return None, f"There is no exact model to say what really follows states that the dataset lacks: {reason}."


def really_next(
    truth: DynamicsModel, rows: Transitions, generator: torch.Generator, wanted: Tensor | None = None
) -> tuple[Tensor, str | None]:
    """The states that follow in `truth`, in float64, since differences of float32 states are what is looked for.

    Args:
        truth: an exact model.
        rows: `B`, whose observations, actions and extras count.
        generator: of the truth's state; an exact model draws nothing.
        wanted: `B` bool; None for all.

    Returns:
        `B x S` float64 on the CPU, NaN where unwanted or unknown, and why the first unknown one is, if it was refused.

    Raises:
        UnsupportedError: if `truth` can start from none of these rows.
    """
    obs = rows.obs.detach().to("cpu", torch.float64)
    found = torch.full_like(obs, torch.nan)
    fine = obs.isfinite().all(-1) if wanted is None else wanted & obs.isfinite().all(-1)
    there = rows.to(truth.device)
    extras = {name: there.extras[name] for name in truth.row_extras(truth.built_task) if name in there.extras}
    exact = Transitions.from_obs(obs.to(truth.device), rows.action.shape[-1], **extras)
    exact.action = there.action.double()
    generator = generator_on(truth.device, generator)
    refusal: str | None = None
    # one state that can't be started from refuses all beside it, so halves are tried until it stands alone
    waiting = [fine.nonzero()[:, 0]] if fine.any() else []
    while waiting:
        part = waiting.pop()
        some = exact.select(part.to(truth.device))
        try:
            step = truth.step(truth.start(some, generator), some.action)
        except DataError as error:
            if len(part) == 1:
                refusal = refusal or str(error)
            else:
                waiting += [part[: len(part) // 2], part[len(part) // 2 :]]
            continue
        found[part] = step.next_obs.detach().to("cpu", torch.float64)
    return found, refusal


def _disagreement(truth: DynamicsModel, rows: Transitions, generator: torch.Generator) -> str | None:
    """Says how a truth differs from what really happened, or None."""
    scale = scale_of(rows.next_obs - rows.obs, rows.obs)
    chosen = torch.randperm(len(rows), generator=generator, device=generator.device)[:_TRIED]
    some = rows.select(chosen.to(rows.obs.device))
    led_to, refusal = really_next(truth, some, generator)
    off = total_of((led_to - some.next_obs.double().cpu()).abs(), scale)  # B
    known = off.isfinite()
    if int((~known).sum()) > _SHARE * len(off):
        return f"it doesn't know {int((~known).sum())} of {len(off)} steps ({refusal or 'its numbers are not finite'})"
    wrong = off[known] > _OFF
    if int(wrong.sum()) > _SHARE * len(off):
        return f"{int(wrong.sum())} of {len(off)} steps are more than {_OFF:g} standard deviations of a change away"
    return None
