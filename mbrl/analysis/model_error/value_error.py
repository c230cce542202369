"""`value_error`: how much a model's error moves the value, and how steep value and model are.

    VAME sampled   γ² mean (V(ŝ) − V(s'))², ŝ one draw of the model
    VAME mean      γ² mean (mean over M draws of V(ŝ) − V(s'))²

after Zheng2023. s' is the one real next observation, so that both hold the noise of the environment; the first holds the
model's noise too, and isn't 0 even for a perfect model of a noisy environment. V is the least of the critics' values.

Zheng2023: "Is model ensemble necessary? Model-based RL via a single model with Lipschitz regularized value function" (ICLR
2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.analysis.forecasts.normalised_errors import dimension_names, left_out, scale_of
from mbrl.analysis.forecasts.one_step_predictions import predict_rows
from mbrl.analysis.model_error.lipschitz import LipschitzEstimate, local_lipschitz
from mbrl.analysis.model_error.value_error_result import ROUNDING, ValueAwareError
from mbrl.analysis.progress import Progress
from mbrl.arguments import Discount, check_argument, check_whole
from mbrl.data import Transitions, ValueFunction
from mbrl.data.streams import generator_on
from mbrl.errors import DataError, MbrlError
from mbrl.models import Differentiable, DynamicsModel, HasLipschitzBound
from mbrl.uncertainty import draw_sample

_JACOBIAN = 4096  # rows times dims of the model's derivatives
VALUE, MODEL = "value", "model"


@torch.no_grad()
def value_error(
    model: DynamicsModel,
    value: ValueFunction,
    rows: Transitions,
    *,
    generator: torch.Generator,
    discount: float = 0.99,
    samples: int = 32,
    most: int = 2048,
    radius: float = 0.1,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> ValueAwareError:
    """Compares the value of the model's next observations with that of the real ones, and estimates slopes.

    Rows that really ended the task are left out: nothing is earned after them, and no value is asked for. Slopes are taken
    at the same states, by `local_lipschitz`, in units of the observation's standard deviation in `rows`; the model's is that
    of the mean of its drawn members, with the row's action held; beside them stands an upper bound of it where the model
    knows one (`HasLipschitzBound`).

    Args:
        model: built and fitted.
        value: a learner, or anything else that values observations, on the model's device.
        rows: `N` real transitions.
        generator: draws rows, members, noise and directions.
        discount: γ.
        samples: `M` draws of the model per row, over which V is averaged; more leave less of the model's noise.
        most: rows at most, drawn uniformly; the model's slopes take fewer (4096 over `S`, from 32 to 256).
        radius: of the balls for slopes, in standard deviations.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: if no row counts.
        ConfigError: for a number out of range.
    """
    check_argument("value_error(model=…)", model, DynamicsModel)
    check_whole("value_error(samples=…)", samples, 1)
    check_whole("value_error(most=…)", most, 1)
    check_argument("value_error(discount=…)", discount, Discount)
    dims = dimension_names("value_error", names, rows.obs.shape[-1])
    notes: list[str] = []
    ended = int(rows.terminated.sum())
    if ended:
        notes.append(f"{ended} of {len(rows)} rows ended the task and are left out, since nothing is earned after them.")
    places = (~rows.terminated).nonzero()[:, 0].cpu()  # of the rows that go on
    if not len(places):
        raise DataError("value_error: expected rows that don't all end the task, got none that goes on; give more data.")
    if len(places) > most:
        notes.append(f"{most} rows were drawn from {len(places)}.")
        drawn = torch.randperm(len(places), generator=generator, device=generator.device)[:most].cpu()
        places = places[drawn.sort().values]
    scale = scale_of(rows.obs, rows.obs)
    notes += left_out(scale, dims, "the observation")
    some = rows.select(places.to(rows.obs.device))
    generator = generator_on(model.device, generator)
    if progress is not None:
        progress(f"value-aware error: {len(some)} rows, {samples} draws each")

    real, first, expected, squares, spreads = [], [], [], [], []
    counted = scale > 0
    for said in predict_rows(model, some, generator):
        here, sample = said.rows, said.sample(generator)
        total = _least(value, sample.next_obs)
        first.append(total)
        draws = [sample.next_obs]
        for _ in range(samples - 1):
            draws.append(draw_sample(said.prediction, said.drawn, generator).next_obs)
            total = total + _least(value, draws[-1])
        expected.append(total / samples)
        real.append(_least(value, here.next_obs))
        off = (sample.next_obs - here.next_obs).double().cpu()[:, counted] / scale[counted]
        squares.append(off.square().sum(-1))
        apart = torch.stack(draws).double().cpu()[..., counted].std(0, correction=0) / scale[counted]  # b x S
        spreads.append(apart.mean(-1))
    found = torch.stack([torch.cat(part) for part in (real, first, expected, squares, spreads)])  # 5 x B
    fine = found.isfinite().all(0)
    if not bool(fine.all()):
        where = int(places[int((~fine).nonzero()[0, 0])])
        notes.append(
            f"{int((~fine).sum())} of {len(fine)} rows have a prediction or a value that isn't finite and are left out; the "
            f"first is row {where}."
        )
    if not bool(fine.any()):
        raise DataError("value_error: expected finite predictions and values, got none; the model or the learner diverged.")
    v_real, v_drawn, v_expected, square, spread = found[:, fine]
    off_value = torch.maximum((v_drawn - v_real).abs(), (v_expected - v_real).abs())
    exact = bool(fine.all()) and float(off_value.max()) <= ROUNDING * max(1e-30, float(v_real.abs().max()))
    if exact:
        notes.append(
            "The model leads where reality does to rounding of the value, so that the logarithm of its error is undefined."
        )
    if progress is not None:
        progress("value-aware error: slopes of value and model")
    return ValueAwareError(
        discount=discount,
        samples=samples,
        real=v_real,
        drawn=v_drawn,
        expected=v_expected,
        squared_distance=float(square.mean()),
        spread=float(spread.mean()),
        lipschitz=_slopes(model, value, some, rows.obs, scale, radius, generator, notes),
        bound=_bound(model, scale),
        exact=exact,
        notes=tuple(notes),
    )


def _slopes(
    model: DynamicsModel,
    value: ValueFunction,
    rows: Transitions,
    everything: Tensor,
    scale: Tensor,
    radius: float,
    generator: torch.Generator,
    notes: list[str],
) -> dict[str, LipschitzEstimate | None]:
    """Estimates of value and model, in units of `scale`; a dim that doesn't vary stays as it is."""
    rows = rows.to(model.device)
    like = rows.obs
    center = everything.double().mean(0).to(like)  # S
    unit = scale.to(like)
    divisor = torch.where(unit > 0, unit, 1.0)
    points = torch.where(unit > 0, (rows.obs - center) / divisor, 0.0)  # B x S

    def at(points: Tensor, rows: Transitions) -> Tensor:
        return torch.where(unit > 0, center + points * unit, rows.obs)

    found: dict[str, LipschitzEstimate | None] = {}
    found[VALUE] = local_lipschitz(
        lambda points: value.value(at(points, rows)).amin(0), points, generator=generator, radius=radius
    )
    size = like.shape[-1]
    number = min(len(rows), max(32, min(256, _JACOBIAN // size)))
    some = rows.select(slice(0, number)) if number == len(rows) else rows.select(_drawn(len(rows), number, generator))
    start = torch.where(unit > 0, (some.obs - center) / divisor, 0.0)

    def led_to(points: Tensor) -> Tensor:
        said = model.predict(at(points, some), some.action)
        return (said.mean[model.drawn_members].mean(0) / divisor)[:, unit > 0]

    smooth = isinstance(model, Differentiable)
    try:
        found[MODEL] = local_lipschitz(led_to, start, generator=generator, radius=radius, differentiable=smooth)
    except MbrlError as error:
        found[MODEL] = None
        notes.append(f"Slopes of the model are left out, since it can't be asked around the states: {error}")
    else:
        if number < len(rows):
            notes.append(f"Slopes of the model are those at {number} of the rows.")
        if not smooth:
            name = type(model).__name__
            notes.append(f"{name} has no gradients, so that its slopes are those to random points and between rows only.")
    return found


def _bound(model: DynamicsModel, scale: Tensor) -> float | None:
    """The largest slope that the mean of the drawn members can have, in units of `scale`; None where nobody knows."""
    if not isinstance(model, HasLipschitzBound) or not bool((scale > 0).any()):
        return None
    return float(model.lipschitz_bound(scale.to(model.device)).observation[model.drawn_members].mean())


def _drawn(rows: int, number: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(rows, generator=generator, device=generator.device)[:number]


def _least(value: ValueFunction, obs: Tensor) -> Tensor:
    """The least of the critics' values, `B` float64 on the CPU."""
    return value.value(obs).amin(0).double().cpu()
