"""Options of `mbrl hub push`, `mbrl hub pull` and `mbrl hub pack`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbrl.options.parsers import RUN


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl hub`."""
    about = (
        "Uploads a run to the Hugging Face hub with a card, or brings one from there; log in before by hf auth login. What "
        "it packs into a folder needs no hub."
    )
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    ways = parser.add_subparsers(dest="way", metavar="push|pull|pack", required=True)
    push = ways.add_parser("push", help="upload a checkpoint without its replay buffers, the settings, its test and a card")
    push.add_argument("run", help=f"{RUN}; RUN/best for the best evaluation's")
    push.add_argument("repo_id", metavar="USER/NAME", help="the repository; made if there is none")
    push.add_argument("--private", action="store_true", help="make one that only you can see")
    pull = ways.add_parser("pull", help="download a run into a folder, for mbrl test and mbrl play")
    pull.add_argument("repo_id", metavar="USER/NAME", help="the repository")
    pull.add_argument("--folder", type=Path, help="a new folder (default: runs/NAME/hub)")
    pull.add_argument("--revision", help="a branch, tag or commit (default: the newest)")
    pack = ways.add_parser("pack", help="write what push uploads into a folder, to be shared in another way")
    pack.add_argument("run", help=f"{RUN}; RUN/best for the best evaluation's")
    pack.add_argument("folder", type=Path, help="a new folder")
    return parser.parse_args(arguments)
