"""Settings that `mbrl fit` makes of its arguments, without a run: for callers that write them, such as a search."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mbrl.errors import ConfigError
from mbrl.planners import Planner
from mbrl.training.callbacks.lightning_callbacks import check_callbacks
from mbrl.training.commands.fit import MbrlCLI, MbrlParser, process_arguments
from mbrl.training.commands.foreign_config import OPTION, only_allowed
from mbrl.training.flags import check_flags
from mbrl.training.output import plain_warnings, quiet
from mbrl.training.parts import check_can_fit, check_parts
from mbrl.training.run_folder import folder_of_run


def parsed(arguments: Sequence[str], allow: Sequence[str] = ()) -> dict[str, Any]:
    """Parses the arguments of a run and makes all its parts, as the command would, but reads no data and runs nothing.

    Args:
        arguments: those after `mbrl`, `fit` first; `--foreign` for a configuration that came from elsewhere.
        allow: modules in which a checkpoint's names may be looked up.

    Returns:
        Every setting, defaults included, as nested mappings.

    Raises:
        ConfigError: with the parser's sentence on the first argument that it doesn't take.
        MbrlError: as a part refuses its settings.
    """
    config: dict[str, Any] = _parsed(arguments, allow).config[arguments[0]].as_dict()
    config.pop("config", None)
    return config


class Planned(NamedTuple):
    """A run that isn't started.

    Attributes:
        folder: that it will have.
        chosen: whether the settings name that folder.
        metric: what its evaluations are judged by, as in `metrics.jsonl`.
    """

    folder: Path
    chosen: bool
    metric: str


def planned(arguments: Sequence[str], allow: Sequence[str] = ()) -> Planned:
    """Parses the arguments of a run as `parsed` does, and says where it will be.

    Args:
        arguments: as for `parsed`.
        allow: as for `parsed`.

    Raises:
        ConfigError: as `parsed`.
        MbrlError: as `parsed`.
    """
    run = _parsed(arguments, allow)
    trainer = run.trainer
    folder = folder_of_run(trainer.folder, trainer.name, trainer.variant, run.model, run.datamodule)
    metric = "eval/return" if isinstance(run.model, Planner) else "model/holdout_mse"
    return Planned(folder, trainer.folder is not None, metric)


def _parsed(arguments: Sequence[str], allow: Sequence[str]) -> _Parsed:
    foreign = OPTION in arguments
    arguments = [argument for argument in arguments if argument != OPTION]
    guard = only_allowed(allow) if foreign else nullcontext()
    with quiet("pytorch_lightning"), plain_warnings(), process_arguments(arguments), guard:
        try:
            return _Parsed(allow, _RaisingParser, foreign=foreign)
        except _RefusedArgument as refused:
            raise ConfigError(str(refused)) from None


class _RefusedArgument(SystemExit):
    """The parser's sentence. As an exception of another kind it would count as one of several tries at a union of types."""


class _RaisingParser(MbrlParser):
    """A parser whose errors don't print, for callers that have more to say."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise _RefusedArgument(self.sentence(message, ex))


class _Parsed(MbrlCLI):
    """The command line up to where the run would start."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """`fit` alone: parsers of commands that nobody asks for take a third of the time."""
        return {"fit": MbrlCLI.subcommands()["fit"]}

    def _set_seed(self) -> None:
        """Does nothing: a run that isn't started must not move the caller's generators."""

    def _run_subcommand(self, subcommand: str) -> None:
        check_parts(self.model, self.datamodule)
        check_can_fit(self.model)
        check_flags(self.trainer.given, online=isinstance(self.model, Planner))
        check_callbacks(self.trainer.user_callbacks, online=isinstance(self.model, Planner))
