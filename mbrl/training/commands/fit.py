"""`mbrl fit`, `validate`, `test` and `predict`: LightningCLI over any planner, any dynamics model and any data."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

from mbrl.arguments import Seed, check_argument
from mbrl.data import NormalizedScore, Task
from mbrl.envs import OfflineData
from mbrl.errors import ConfigError, MbrlError, reading
from mbrl.planners import Planner
from mbrl.spec import from_spec
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.commands.config_files import check_config_files
from mbrl.training.commands.config_text import MODE
from mbrl.training.commands.empty_keys import refuse_empty_unknown
from mbrl.training.commands.foreign_config import OPTION, check_classes, only_allowed
from mbrl.training.commands.help_text import HelpFormatter
from mbrl.training.commands.messages import sentence
from mbrl.training.load import module_of
from mbrl.training.output import plain_warnings, quiet, say, show_metrics
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside
from mbrl.training.trainer import Trainer
from mbrl.training.yaml_text import read_value


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Runs one of the four commands.

    Args:
        given: its `command`, and its `arguments`, with `--foreign` for a configuration that came from elsewhere; or None and
            the options of an evaluation that takes all from a checkpoint.
        allow: modules in which a checkpoint's names may be looked up.
    """
    with quiet("pytorch_lightning"), plain_warnings():
        if given.arguments is None:
            return _from_checkpoint(given, allow)
        check_config_files(given.arguments)
        foreign = OPTION in given.arguments
        arguments = [given.command, *(option for option in given.arguments if option != OPTION)]
        with process_arguments(arguments), only_allowed(allow) if foreign else nullcontext():
            MbrlCLI(allow, foreign=foreign)
    return 0


class MbrlParser(LightningArgumentParser):
    """A parser whose errors are one sentence."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"parser_mode": MODE, "formatter_class": HelpFormatter, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Prints what is wrong and exits with 2."""
        say(self.sentence(message, ex))
        raise SystemExit(2)

    def sentence(self, message: str, ex: Exception | None = None) -> str:
        """Says what is wrong, in one sentence."""
        parser = getattr(ex, "subcommand_parser", self)
        hidden = ("help", "config", "print_config")
        return sentence(message, [action.dest for action in parser._actions if action.dest.rpartition(".")[2] not in hidden])


class MbrlCLI(LightningCLI):
    """LightningCLI whose model is a planner or a dynamics model, with one seed, one name and one run folder.

    Args:
        allow: modules in which a checkpoint's names may be looked up.
        parser_class: of the parser, which decides what becomes of its errors.
        foreign: whether the configuration came from elsewhere, so that nothing in it is looked up outside `mbrl` and
            `allow`; the caller guards the parser (`only_allowed`).
    """

    trainer: Trainer

    def __init__(self, allow: Sequence[str], parser_class: type[MbrlParser] = MbrlParser, *, foreign: bool = False) -> None:
        self.allow = tuple(allow)
        self.foreign = foreign
        super().__init__(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            trainer_class=Trainer,
            parser_class=parser_class,
            save_config_callback=None,  # the run folder writes it, for Python too
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The Trainer, told which modules to trust, and how its callbacks and loggers were described."""
        trainer: Any = super().instantiate_trainer(**kwargs)
        trainer.allow = self.allow
        trainer.described = self._described()
        return trainer

    def _described(self) -> dict[str, Any]:
        """Callbacks and loggers as the user wrote them: objects don't tell what they were made from."""
        name = self.config["subcommand"]
        given = read_value(self._subcommand_parsers[name].dump(self.config[name], skip_validation=True))["trainer"]
        return {part: given[part] for part in ("callbacks", "logger") if isinstance(given.get(part), (dict, list))}

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """The Trainer's methods, and which of their arguments the command line does not offer."""
        return {name: {"model", "datamodule"} for name in ("fit", "validate", "test", "predict")}

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Adds the short names of the run's seed, name and variant."""
        parser.add_argument("--seed_everything", type=int | None, default=None, help="The seed (data.init_args.seed).")
        parser.add_argument("--name", type=str | None, default=None, help="The run's name (trainer.name).")
        parser.add_argument("--variant", type=str | None, default=None, help="Appended to the name (trainer.variant).")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, then puts the short names where they belong."""
        super().parse_arguments(parser, args)
        config = self.config[self.config["subcommand"]]
        for path in config.get("config") or []:
            if path is not None and Path(str(path)).is_file():
                refuse_empty_unknown(Path(str(path)), config.as_dict())
        for part in ("model", "data"):
            if config.get(part) is None:
                raise ConfigError(f"{part}: expected a class, got nothing; give --config FILE, or --{part} CLASS.")
        if not hasattr(config["trainer"], "keys"):
            raise ConfigError(
                f"trainer: expected settings by name, got {config['trainer']!r}; write {{log_every: 100}}, say."
            )
        settings = config["data"].get("init_args") or {}
        _merge(config, "seed_everything", settings, "seed", "data.init_args.seed", _seed_default())
        _merge(config, "name", config["trainer"], "name", "trainer.name", None)
        _merge(config, "variant", config["trainer"], "variant", "trainer.variant", None)

    def _parse_ckpt_path(self) -> None:
        """Does nothing: what the user wrote is compared with the checkpoint, never replaced by it."""

    def _set_seed(self) -> None:
        """Seeds the global generators too, for environments that draw from them; nothing in this library does."""
        config = self.config[self.config["subcommand"]]
        seed = (config["data"].get("init_args") or {}).get("seed")
        if seed is not None:
            check_argument("data.init_args.seed", seed, Seed)
            pl.seed_everything(seed, workers=True, verbose=False)

    def instantiate_classes(self) -> None:
        """Makes all parts; the parser's wordy report of one that failed gives way to that part's own sentence."""
        if self.foreign:
            check_classes(self.config[self.config["subcommand"]].as_dict(), self.allow)
        try:
            super().instantiate_classes()
            if isinstance(self.datamodule, OfflineData):
                self.datamodule.trusted = self.allow
            if self.foreign:
                self.datamodule.allow = self.allow  # its names came in a file
        except MbrlError:
            raise
        except ValueError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, (MbrlError, ModuleNotFoundError)):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise
            if isinstance(cause, MbrlError):
                raise cause from error
            path = re.search(r"class_path '([^']+)'", str(error))
            what = path[1] if path else "a class in the configuration"
            reason = " ".join(str(cause).split()).rstrip(".")
            raise ConfigError(f"{what}: expected the package that it needs, got {reason}; install that package.") from error

    def fit(self, **arguments: Any) -> None:
        """`mbrl fit`."""
        self.trainer.fit(**arguments)

    def validate(self, **arguments: Any) -> None:
        """`mbrl validate`."""
        show_metrics("validate", self.trainer.validate(**_with_last(arguments)))

    def test(self, **arguments: Any) -> None:
        """`mbrl test`."""
        _show_test(self.trainer, self.trainer.test(**_with_last(arguments)), self.datamodule)

    def predict(self, **arguments: Any) -> None:
        """`mbrl predict`."""
        say(f"predictions in {self.trainer.predict(**_with_last(arguments))}")


def _from_checkpoint(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Evaluates or predicts with nothing but a checkpoint, which knows its own planner and environment."""
    name = given.command
    path = checkpoint_at(given.run or given.ckpt_path)
    checkpoint = read_checkpoint(path, buffers=False)
    model = module_of(checkpoint, path, allow)
    trainer = Trainer(given.folder or inside(path), progress=False, tensorboard=False)
    trainer.loaded_from = path
    if name == "predict":
        task: Any = model.built_task
        data: Any = _dataset_for(task, given.dataset, given.done)
        say(f"predictions in {trainer.predict(model, data, output=given.output)}")
        return 0
    with reading("the data of a run in the checkpoint"):
        spec = checkpoint["mbrl_run"]["data"]
        spec["class_path"], spec["init_args"].keys()
        noted = checkpoint["mbrl_run"].get("references", False)  # older runs note nothing, and read their dataset
        references = NormalizedScore(**noted) if noted else None
    if name == "test" and given.episodes is not None:
        if not isinstance(model, Planner):
            raise ConfigError(f"--episodes: expected a planner's checkpoint, got {type(model).__name__}'s; leave it out.")
        spec["init_args"]["test_episodes"] = given.episodes
    if name == "test" and given.dataset is not None:
        if isinstance(model, Planner) or "path" not in spec["init_args"]:
            raise ConfigError(f"--dataset: expected a model fitted alone, got {type(model).__name__}; leave it out.")
        spec["init_args"] |= {"path": given.dataset, "rows": None}
    data = from_spec(spec, allow, recorded=True)
    data.allow = allow  # its settings came in the checkpoint
    if isinstance(model, Planner) and isinstance(data, OfflineData) and noted is not False:
        data.without_dataset(model.built_task, references)
    if name == "test":
        _show_test(trainer, trainer.test(model, data, video=given.video), data)
    else:
        show_metrics(name, trainer.validate(model, data))
    return 0


def _show_test(trainer: Trainer, metrics: dict[str, float], data: Any) -> None:
    """Prints a test, and says why its return has no normalised score where a dataset could have given one."""
    show_metrics("test", metrics, trainer.run_folder, trainer.references)
    if "test/return" in metrics and isinstance(data, OfflineData) and data.references is None:
        say(f"no normalised score: {data.path} has no reference scores (ref_min_score, ref_max_score of Minari)")


def _dataset_for(task: Task, path: str, done: Literal["terminated"] | None) -> OfflineData:
    """A dataset of a trained task; where the task is not named, all comes from the dataset."""
    if not task.env_id:
        return OfflineData(path, action_low=list(task.action_low), action_high=list(task.action_high), done=done)
    kwargs, repeat = dict(task.env_kwargs), task.action_repeat
    data = OfflineData(path, env_id=task.env_id, env_kwargs=kwargs, action_repeat=repeat, done=done)
    data.allow = task.allow
    return data


def _with_last(arguments: dict[str, Any]) -> dict[str, Any]:
    """Evaluates the newest checkpoint where none is named, never an untrained planner."""
    return {**arguments, "ckpt_path": arguments["ckpt_path"] or "last"}


def _merge(config: Any, short: str, target: Any, key: str, name: str, default: Any) -> None:
    """Puts the value of a short name where it belongs; refuses two that differ."""
    value = config.get(short)
    if value is None:
        return
    there = target.get(key, default)
    if there not in (default, value):
        raise ConfigError(f"{short}: expected the value of {name}, which is {there!r}, got {value!r}; leave one out.")
    target[key] = value


def _seed_default() -> int | None:
    """The seed that counts as left out: none, where the command line gives one, so that 0 isn't overridden by a file."""
    said = any(re.match(r"--data(\.init_args)?\.seed(=|$)", argument) for argument in sys.argv)
    return None if said else 0


@contextmanager
def process_arguments(arguments: list[str]) -> Iterator[None]:
    """LightningCLI reads the process's arguments, and only then gives no warning."""
    before = sys.argv
    sys.argv = ["mbrl", *arguments]
    try:
        yield
    finally:
        sys.argv = before
