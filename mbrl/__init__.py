"""Model-based reinforcement learning: any dynamics model with any planner, from one YAML file or ten lines of Python.

Example:
    >>> import mbrl
    >>> policy = mbrl.load_policy("runs/mbpo-inverted-pendulum/seed0")  # doctest: +SKIP
    >>> action = policy.predict(obs)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbrl.training import Trainer, from_hub, load, load_policy, push_to_hub

__version__ = "0.1.0"
__all__ = ["Trainer", "__version__", "from_hub", "load", "load_policy", "push_to_hub"]


def __getattr__(name: str) -> Any:
    # `import mbrl` alone stays fast: torch and Lightning take seconds, and `mbrl --help` needs neither
    if name in ("Trainer", "from_hub", "load", "load_policy", "push_to_hub"):
        import mbrl.training

        return getattr(mbrl.training, name)
    raise AttributeError(f"module 'mbrl' has no attribute {name!r}")
