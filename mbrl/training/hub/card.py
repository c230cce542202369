"""The card of a run: the README.md of its repository, written from what the run's files say."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from mbrl.training.metrics_file import CLOCKS


def card(
    name: str, checkpoint: Mapping[str, Any], test: Mapping[str, Any] | None, allow: tuple[str, ...], *, on_hub: bool
) -> str:
    """The card's text: Markdown with the hub's YAML before it.

    Args:
        name: the repository, `user/name`, or the folder.
        checkpoint: Lightning's dict, without buffers.
        test: the content of `test.json`, if it is of this checkpoint.
        allow: modules of the run's own that loading it needs.
        on_hub: whether it is for a repository of the hub, and not for a folder.
    """
    run, task = checkpoint["mbrl_run"], checkpoint["mbrl"]["task"]
    kind, env = _plain(str(run["class_path"]).rpartition(".")[2]), _plain(str(task.get("env_id") or "a dataset"))
    planner = checkpoint["mbrl"]["kind"] == "planner"
    versions = {**_own_version(), **run.get("versions", {})}
    rows = {
        "environment": f"`{env}`",
        "planner" if planner else "model": f"`{kind}`",
        **{what: f"`{_plain(str(part))}`" for what, part in _parts(run["model"]).items()},
        ("real steps" if run["clock"] == "env_steps" else CLOCKS[run["clock"]]): f"{int(run['position']):,}",
        "seed": str(int(checkpoint["mbrl"]["seed"])),
        "return": _return(run, test) if planner else None,
        "versions": _plain(", ".join(f"{of} {one}" for of, one in versions.items())),
    }
    table = "\n".join(f"| {what} | {text} |" for what, text in rows.items() if text is not None)
    modules = f", allow={list(allow)!r}" if allow else ""
    needs = f" Its own code is needed beside it: `{_plain(', '.join(allow))}`." if allow else ""
    asked = f"mbrl.{'from_hub' if on_hub else 'load'}({json.dumps(name, ensure_ascii=False)}{modules})"
    use = (
        f"policy = {asked}\naction = policy.predict(obs)  # environment units, as obs is" if planner else f"model = {asked}"
    )
    install = "mbrl-toolkit[hub]" if on_hub else "mbrl-toolkit"
    folder = "FOLDER" if on_hub else name
    brings = f"`mbrl hub pull {name} --folder FOLDER` brings the run into a folder, for" if on_hub else "This folder is for"
    return f"""---
{yaml.safe_dump(_about(kind, env, test), sort_keys=False, allow_unicode=True)}---

# {kind} on {env}

Trained with mbrl, a toolkit of model-based reinforcement learning.

| | |
|---|---|
{table}

## Use

```bash
pip install '{install}'
```

```python
import mbrl

{use}
```

Files are tensors and plain data, and loading runs nothing from them.{needs}
{brings} `mbrl test {folder}` and `mbrl play {folder}`.
The settings are in `config.yaml`; replay buffers are left out.
"""


def _about(kind: str, env: str, test: Mapping[str, Any] | None) -> dict[str, Any]:
    """The hub's metadata; a result is there only where a test measured it."""
    about: dict[str, Any] = {
        "library_name": "mbrl-toolkit",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "model-based-reinforcement-learning", kind, env],
    }
    if test is not None and isinstance(test.get("test/return"), float):
        about["model-index"] = [
            {
                "name": kind,
                "results": [
                    {
                        "task": {"type": "reinforcement-learning", "name": "reinforcement-learning"},
                        "dataset": {"name": env, "type": env},
                        "metrics": [{"type": "mean_reward", "name": "mean return", "value": test["test/return"]}],
                    }
                ],
            }
        ]
    return about


def _parts(spec: Mapping[str, Any]) -> dict[str, str]:
    """Classes of the model and the learner within a planner."""
    arguments = spec.get("init_args", {})
    found = {"dynamics model": arguments.get("dynamics"), "learner": arguments.get("learner")}
    return {
        name: str(part["class_path"]).rpartition(".")[2]
        for name, part in found.items()
        if isinstance(part, Mapping) and "class_path" in part
    }


def _return(run: Mapping[str, Any], test: Mapping[str, Any] | None) -> str:
    if test is not None and isinstance(test.get("test/return"), float):
        low, high = test.get("test/return_low"), test.get("test/return_high")
        interval = f", 95 % interval [{low:.1f}, {high:.1f}]" if low is not None and high is not None else ""
        return f"{test['test/return']:.1f} over {int(test['test/episodes'])} test episodes{interval}"
    if run.get("eval_return") is not None:
        return f"{run['eval_return']:.1f} in the last evaluation of training; not tested on episodes of its own"
    return "not measured at this checkpoint"


def _own_version() -> dict[str, str]:
    try:
        return {"mbrl": version("mbrl-toolkit")}
    except PackageNotFoundError:  # a copy on the path that was never installed
        return {}


def _plain(text: str) -> str:
    """A name without what Markdown or a table's cell would take for its own."""
    return re.sub(r"[^\w ./:,+-]", "_", text)


def test_of(folder: Path, sha256: str) -> Any:
    """The content of a run's `test.json` if it is of the checkpoint whose `model.pt` has this hash, else None."""
    path = folder / "test.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if found["checkpoint"]["sha256"] == sha256 else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
