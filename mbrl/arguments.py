"""Checks of what an object or a function is given: each refusal is one sentence that names the argument."""

from __future__ import annotations

from collections.abc import Sequence

from mbrl.errors import ConfigError


def check_whole(where: str, value: int, least: int = 1, most: int | None = None) -> None:
    """Refuses `value` unless it is a whole number from `least` to `most`.

    Args:
        where: such as `CEM(elites=…)`, which begins the message.
        value: what was given.
        least: smallest that is fine.
        most: largest that is fine; None for no limit.

    Raises:
        ConfigError: otherwise.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{where}: expected a whole number {limits}, got {value!r}; choose one.")


def check_number(
    where: str, value: float, least: float = 0.0, most: float = float("inf"), *, above: bool = False, below: bool = False
) -> None:
    """Refuses `value` unless it is a finite number from `least` to `most`.

    Args:
        where: such as `CEM(momentum=…)`, which begins the message.
        value: what was given.
        least: smallest that is fine.
        most: largest that is fine.
        above: whether `least` itself is refused.
        below: whether `most` itself is refused.

    Raises:
        ConfigError: otherwise, for NaN and infinity too.
    """
    fine = isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0  # NaN, ±inf: not 0
    if fine:
        fine = (value > least if above else value >= least) and (value < most if below else value <= most)
    if not fine:
        lower = f"above {least:g}" if above else f"of at least {least:g}"
        upper = "" if most == float("inf") else f" and {'below' if below else 'at most'} {most:g}"
        raise ConfigError(f"{where}: expected a number {lower}{upper}, got {value!r}; choose one.")


def check_choice(where: str, value: object, choices: Sequence[object]) -> None:
    """Refuses `value` unless it is one of `choices`.

    Args:
        where: such as `CEM(tail=…)`, which begins the message.
        value: what was given.
        choices: what is fine.

    Raises:
        ConfigError: otherwise.
    """
    if isinstance(value, bool) or value not in choices:
        listed = ", ".join(str(choice) for choice in choices)
        raise ConfigError(f"{where}: expected one of {listed}, got {value!r}; choose one.")
