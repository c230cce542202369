"""Kills workers at random moments and looks at what is left in the study."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.search.study.outcome import is_settled, root_of, spent
from mbrl.search.study.storage import load_study, open_storage

ROOT = Path(__file__).parents[2]
QUEUED = 5  # configurations that were queued before anyone worked


def queued(number: int) -> dict[str, object]:
    """A configuration that no sampler draws."""
    return {"kind": "tilted", "x": 0.5 + number / 1024, "y": 20}


def create(url: str) -> optuna.Study:
    """A study of `fake_problem` with some configurations queued."""
    study = optuna.create_study(study_name="quadratic", storage=open_storage(url), direction="maximize")
    for number in range(QUEUED):
        study.enqueue_trial(queued(number))
    return study


def start(url: str, trials: int, seconds: float, grace_s: float, *, look: bool) -> subprocess.Popen[bytes]:
    """Starts a worker process."""
    arguments = [url, str(trials), str(seconds), str(grace_s), "look" if look else "wait"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "tests.search.fake_problem", *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)


def kill_at_random(
    url: str, *, kills: int, trials: int, seconds: float, grace_s: float, longest_s: float, seed: int, look: bool
) -> list[FrozenTrial]:
    """Kills a worker `kills` times, each at a moment drawn after its first trial began, then lets one finish.

    Returns:
        All trials.
    """
    study = create(url)
    moments = random.Random(seed)
    for _ in range(kills):
        count = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.COMPLETE)))
        process = start(url, trials, seconds, grace_s, look=look)
        until = time.monotonic() + 90  # a busy machine takes long to start Python
        while len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.COMPLETE))) <= count:
            assert process.poll() is None and time.monotonic() < until, process.stderr and process.stderr.read().decode()
            time.sleep(0.005)
        time.sleep(moments.uniform(0, longest_s))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
    last = start(url, trials, seconds, grace_s, look=look)
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors.decode()
    return load_study("quadratic", url).trials


def problems(trials: list[FrozenTrial], budget: int) -> list[str]:
    """What is wrong with a study whose workers were killed: nothing may be lost, run twice, or left running."""
    found = [f"trial {trial.number} is {trial.state.name}" for trial in trials if not trial.state.is_finished()]
    settled = [trial for trial in trials if is_settled(trial) and "late" not in trial.user_attrs]
    roots = Counter(root_of(trial) for trial in settled)
    found += [f"root {root} finished {count} times" for root, count in roots.items() if count > 1]
    if spent(trials) != budget:
        found.append(f"{spent(trials)} configurations are settled, of {budget}")
    for number in range(QUEUED):
        count = sum(trial.params == queued(number) for trial in settled)
        if count != 1:
            found.append(f"queued configuration {number} finished {count} times")
    lost = {root_of(trial) for trial in trials if "seeds" in trial.user_attrs} - set(roots)
    found += [f"root {root} was begun and never finished" for root in sorted(lost)]
    return found
