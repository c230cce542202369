"""The parts that a planner or a model is made of, wherever they lie, and what they have learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mbrl.spec import Part


def parts_of(owner: Any) -> dict[str, Part]:
    """The parts among an object's attributes, by the path to each.

    They may lie in lists and dicts, in other parts, and in modules, such as a planner's learner and its model.

    Args:
        owner: such as a planner.
    """
    found: dict[str, Part] = {}

    def look(value: Any, path: str, above: tuple[Any, ...]) -> None:
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            for key, item in value.items():
                look(item, f"{path}.{key}", above)
        elif isinstance(value, Part) or hasattr(value, "_modules"):  # torch's, which takes seconds to import
            if any(value is other for other in above):  # a part may know the module that holds it
                return
            if isinstance(value, Part):
                found[path] = value
            enter(value, f"{path}.", above)

    def enter(holder: Any, prefix: str, above: tuple[Any, ...]) -> None:
        for name, item in {**getattr(holder, "_modules", {}), **vars(holder)}.items():
            if name != "_modules":
                look(item, f"{prefix}{name}", (*above, holder))

    enter(owner, "", ())
    return found


def reset_parts(owner: Any) -> None:
    """Has all parts of `owner` forget what they have learned."""
    for part in parts_of(owner).values():
        part.reset()


def fitted_parts(owner: Any, model: Any, rows: Any) -> None:
    """Shows all parts of `owner` the model and the rows that it was just fitted to, each part once wherever it lies."""
    for part in {id(part): part for part in parts_of(owner).values()}.values():
        part.fitted(model, rows)


def states_of_parts(owner: Any) -> dict[str, dict[str, Any]]:
    """The states of those parts that have one, by path, for a checkpoint."""
    return {path: state for path, part in parts_of(owner).items() if (state := part.state_dict())}


def load_states_of_parts(owner: Any, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Continues from `states_of_parts`; a part without a state there had none then."""
    for path, part in parts_of(owner).items():
        if path in states:
            part.load_state_dict(states[path])
        elif part.state_dict():
            part.reset()
