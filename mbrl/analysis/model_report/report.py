"""`report`: every analysis that applies to a trained planner or model, on one dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mbrl.analysis.episodes import check_longest, split_episodes
from mbrl.analysis.forecasts.exact_model import AUTO, find_truth
from mbrl.analysis.model_report.report_files import Report
from mbrl.analysis.model_report.report_parts import REPORT_PARTS, ReportPart
from mbrl.analysis.model_report.subject import Subject
from mbrl.analysis.progress import Progress
from mbrl.analysis.result import Result, Skipped
from mbrl.arguments import check_argument, check_whole
from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError, MbrlError, UnsupportedError
from mbrl.models import DynamicsModel, Exact
from mbrl.planners import HasDynamics, Planner, evaluating
from mbrl.uncertainty import UncertaintyMeasure


def report(
    module: Planner | DynamicsModel,
    rows: Transitions,
    *,
    horizon: int = 25,
    training_rows: Transitions | None = None,
    measures: Sequence[UncertaintyMeasure] | None = None,
    truth: DynamicsModel | str = AUTO,
    names: Sequence[str] | None = None,
    decisions: int | None = None,
    quick: bool = False,
    seed: int = 0,
    allow: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    parts: Sequence[ReportPart] = REPORT_PARTS,
) -> Report:
    """Runs every analysis that applies; one that can't be made is left out with its reason, and the others go on.

    Args:
        module: built and trained, such as `mbrl.load` gives: a planner with a model, or a model alone, which has no policy,
            value or plans to look at.
        rows: real transitions in the order in which they happened; best some that the model wasn't fitted to.
        horizon: `H` steps of open-loop rollouts and returns; longer ones show how errors add up, and fit into fewer
            episodes.
        training_rows: what the model was fitted to: distances are then to these, large errors are larger than theirs, and
            the linear baseline is fitted to them.
        measures: of uncertainty; None takes those of `mbrl.uncertainty` as they were published.
        truth: an exact model of the environment, or `auto`, `none` or a class's name; see `find_truth`. It says
            what really follows states that the model's own rollouts reach, and the policy's own actions.
        names: of the observation's dims; None takes those of the model's task.
        decisions: of the planner to compare with what really follows, in each environment; None takes 10 (3 if `quick`).
            A planner that searches takes most of the time for them.
        quick: fewer rows, windows and draws: wider bands in a fraction of the time.
        seed: of everything that is drawn.
        allow: modules besides `mbrl` in which the truth's class and the environment may lie.
        about: plain data by name that the report tells first, such as where all this is from.
        progress: told a sentence now and then.
        parts: of the report, in the order of its page.

    Raises:
        DataError: if no episode is as long as the horizon.
        UnsupportedError: for a planner without a dynamics model.
        ConfigError: for a number out of range, or another module.
    """
    check_argument("report(rows=…)", rows, Transitions)
    check_argument("report(training_rows=…)", training_rows, Transitions | None)
    check_whole("report(horizon=…)", horizon, 1)
    episodes = split_episodes(rows)
    longest = check_longest(episodes, horizon)
    model = _model_of(module)
    truth_model, about_truth = _truth(truth, model, rows, seed, allow)
    looked_at = {
        **(about or {}),
        "model": type(model).__name__,
        "planner": _about_planner(module),
        "fitted": not (isinstance(module, Planner) and module.never_fitted),
        "environment": model.built_task.env_id or "not named",
        "rows": len(rows),
        "episodes": len(episodes),
        "longest_episode": longest,
        "rows_of_training_data": None if training_rows is None else len(training_rows),
        "horizon": horizon,
        "quick": quick,
        "seed": seed,
        "truth": about_truth,
    }
    subject = Subject(
        model=model, planner=module if isinstance(module, Planner) else None, rows=rows, episodes=episodes, horizon=horizon,
        truth=truth_model, training_rows=training_rows, measures=measures, decisions=decisions, seed=seed,
        names=model.built_task.names if names is None else names,
        allow=allow, progress=progress,
    )  # fmt: skip
    if progress is not None and isinstance(module, Planner) and module.never_fitted:
        progress(f"the planner is {looked_at['planner']}")
    parts = [part for part in parts if isinstance(model, part.kind)]
    found: dict[str, Result | Skipped] = {}
    with evaluating(module):
        for part in sorted(parts, key=lambda part: not part.acts):
            name = part.result.name
            try:
                sizes = part.quick if quick else part.sizes
                found[name] = part.make(subject, make_generator("cpu", seed, "report", name), **sizes)
            except MbrlError as error:  # what a user can read; a bug goes on
                found[name] = Skipped(name, part.result.title, str(error))
    return Report(looked_at, [found[part.result.name] for part in parts])


def _about_planner(module: Any) -> str:
    if not isinstance(module, Planner):
        return "none: a model alone"
    name = type(module).__name__
    return f"{name}, never fitted: all that it says is untrained" if module.never_fitted else name


def _model_of(module: Any) -> DynamicsModel:
    if isinstance(module, DynamicsModel):
        module.built_task  # noqa: B018 - refuses before build
        return module
    if not isinstance(module, Planner):
        raise ConfigError(f"report: expected a planner or a dynamics model, got {type(module).__name__}; see mbrl.load.")
    name = type(module).__name__
    if not isinstance(module, HasDynamics):
        raise UnsupportedError(
            f"report: expected a planner that inherits HasDynamics, got {name}; add it, or give its model."
        )
    if module.dynamics is None:
        raise UnsupportedError(
            f"report: expected a planner with a dynamics model to look at, got {name} without one (dynamics: null); "
            "mbrl test says how well it acts."
        )
    return module.dynamics


def _truth(
    choice: DynamicsModel | str, model: DynamicsModel, rows: Transitions, seed: int, allow: Sequence[str]
) -> tuple[DynamicsModel | None, str]:
    if isinstance(model, Exact):
        return None, "The model itself is exact."
    if isinstance(choice, DynamicsModel):
        return choice, f"The truth is {type(choice).__name__}, as given."
    return find_truth(choice, model.built_task, rows, make_generator("cpu", seed, "report", "truth"), allow)
