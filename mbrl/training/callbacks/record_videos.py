"""`RecordVideos`: films of a planner during training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from mbrl.arguments import Count
from mbrl.data import derived_seed
from mbrl.errors import MbrlError, UnsupportedError
from mbrl.planners import Planner
from mbrl.planners.evaluation import EvaluationStopped
from mbrl.spec import Configurable
from mbrl.training.callbacks.run import Run
from mbrl.training.files import room_for
from mbrl.training.products.films import check_films, film

FOLDER = "videos"  # in the run folder


class RecordVideos(Configurable, pl.Callback):
    """Films a planner every so many steps of its clock, as evaluations see it: `videos/step-<clock>-episode-<k>.mp4`.

    Episode `k` begins alike in all films of a run. They are made in an environment of their own, and whatever is drawn comes
    from generators made anew, so that the run has the same numbers with and without, and resumes as it would. What can't be
    drawn is refused when the run begins; a film that fails later is told, and the run goes on. Needs the extra `video`.

    Args:
        every: steps of the planner's clock between films; fewer cost more time.
        episodes: films at a time, one per episode.

    Raises:
        ConfigError: for a number out of range; when a run begins, if the library that writes films isn't installed.
        UnsupportedError: when a run begins, if it has no environment to film, or one that can't be drawn.
    """

    def __init__(self, every: Count = 1000, episodes: Count = 1) -> None:
        self.every = every
        self.episodes = episodes
        self._before = 0

    def setup(self, trainer: Run, pl_module: pl.LightningModule, stage: str) -> None:  # type: ignore[override]
        """Refuses a run that can't be filmed.

        Raises:
            ConfigError, UnsupportedError: as the class says.
        """
        if stage != "fit" or not trainer.is_global_zero:
            return
        if not isinstance(pl_module, Planner):
            raise UnsupportedError(
                f"RecordVideos: expected a planner, with episodes to film, got {type(pl_module).__name__}; leave it out."
            )
        if (why := trainer.datamodule.no_evaluation) is not None:
            raise UnsupportedError(f"RecordVideos: expected an environment to film, got none ({why}); leave it out.")
        check_films(trainer.datamodule.evaluation_task)

    def on_train_batch_start(self, trainer: Run, pl_module: Any, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
        self._before = pl_module.clock

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = pl_module.clock
        if trainer.is_global_zero and now // self.every > self._before // self.every:
            self._film(trainer, pl_module, now)

    def _film(self, trainer: Run, planner: Planner, now: int) -> None:
        folder = trainer.run_folder / FOLDER
        with room_for(f"the films in {folder}"):
            folder.mkdir(exist_ok=True)
        for number in range(self.episodes):
            path = folder / f"step-{now}-episode-{number}.mp4"
            seed = derived_seed(planner.seed, "videos", number) % 2**31
            try:
                with room_for(f"the film {path}"):
                    film(planner, trainer.datamodule.evaluation_task, seed, path, stop=lambda: bool(trainer.stop_signal))
            except EvaluationStopped:
                return
            except MbrlError as error:  # a film that can't be made ends no run
                trainer.say(f"{path}: {error}")
                return
