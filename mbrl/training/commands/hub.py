"""`mbrl hub`: runs go to the Hugging Face hub and come from there, or are packed without it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mbrl.training.hub.client import check_repo
from mbrl.training.hub.pull import pull
from mbrl.training.hub.push import pack, push_to_hub
from mbrl.training.load import load
from mbrl.training.output import plain_warnings, say
from mbrl.training.run_folder import default_folder


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Does what the options ask for, and says where it is."""
    with plain_warnings():
        if given.way == "push":
            say(f"the run is at {push_to_hub(given.run, given.repo_id, private=given.private, allow=allow)}")
            return 0
        if given.way == "pack":
            say(f"the run is in {pack(given.run, given.folder, allow=allow)}")
            return 0
        check_repo(given.repo_id)
        folder = given.folder or default_folder(given.repo_id.partition("/")[2], 0).with_name("hub")
        pull(given.repo_id, folder=folder, revision=given.revision)
        load(folder, allow)  # what can't be loaded is told now
    say(f"the run is in {folder}: mbrl test {folder}, mbrl play {folder}")
    return 0
