"""Options of `mbrl collect`, and of `mbrl collect --levels`."""

from __future__ import annotations

import argparse

LEVELS_OPTION = "--levels"


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl collect`; with `levels`, datasets of these from one run."""
    if any(argument.split("=")[0] == LEVELS_OPTION for argument in arguments):
        parser = _levels(command)
        return parser.parse_args(["--help"] if {"-h", "--help"} & set(arguments) else arguments)
    parser = argparse.ArgumentParser(
        prog=f"mbrl {command}",
        description="Records a dataset with random actions, or with a trained planner.",
        epilog=f"mbrl {command} {LEVELS_OPTION} makes datasets of several levels from one run; add --help to it.",
    )
    parser.add_argument("output", help="a .npz file, or the id of a new Minari dataset such as pendulum/random-v0")
    parser.add_argument("--env_id", help="the environment (default: that of --ckpt_path)")
    parser.add_argument("--env_kwargs", help="keyword arguments of the environment, as JSON")
    parser.add_argument("--action_repeat", type=int, help="simulator steps in one real step (default: 1)")
    parser.add_argument("--ckpt_path", help="a trained planner that acts; random actions without it")
    parser.add_argument("--explore", action="store_true", help="let the planner explore as in training")
    parser.add_argument("--steps", type=int, default=10_000, help="real steps (default: 10000)")
    parser.add_argument("--num_envs", type=int, default=1, help="environments stepped at once (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the environments and the actions (default: 0)")
    parser.add_argument(
        "--no_sim_state", action="store_true", help="leave the simulator's states out, which make the file larger"
    )
    parser.set_defaults(levels=None)
    return parser.parse_args(arguments)


def _levels(command: str) -> argparse.ArgumentParser:
    about = "Makes Minari datasets of several levels from one run: of its policies, and of its buffer."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    parser.add_argument(
        LEVELS_OPTION, required=True,
        help="which, with commas between them: random,medium,medium-replay,medium-expert,expert, or all",
    )  # fmt: skip
    parser.add_argument("run", help="a finished run's folder that kept checkpoints (trainer.keep_at), or RUN/best")
    parser.add_argument("--namespace", help="of their ids, NAMESPACE/LEVEL-v0 (default: mbrl/ and the environment's id)")
    parser.add_argument("--steps", type=int, default=10_000, help="real steps of random, medium and expert (default: 10000)")
    parser.add_argument("--episodes", type=int, default=100, help="whole episodes of each reference score (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="of starts and actions (default: 0)")
    parser.add_argument("--no_sim_state", action="store_true", help="leave the simulator's states out")
    return parser
