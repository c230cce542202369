"""Specs: how a configurable object is described by plain data and made again from it.

A spec is `{"class_path": "package.Class", "init_args": {...}}`, the form that LightningCLI reads from YAML, with nested
objects as nested specs. Objects record it at construction, whether YAML or Python made them, so a checkpoint can hold it
and `from_spec` can rebuild the object in a process that never saw the script. A class's address is its public name, so
that files may move beneath it (`mbrl.names`).
"""

from __future__ import annotations

import ast
import functools
import inspect
import numbers
import os
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mbrl.arguments import bound_arguments, check_arguments, resolved_signature, without_numpy
from mbrl.errors import CheckpointError, ConfigError, MbrlWarning
from mbrl.names import class_path, import_name, name_of


class Configurable:
    """Base of every object that YAML can make: records its own spec at construction.

    Constructors take hyperparameters only (numbers, strings, lists, dicts, None, other `Configurable` objects), so that
    the spec says all there is to say; sizes, data and generators arrive later, in `build` or as arguments.

    Attributes:
        former: arguments that this class's constructor got after specs of it had been written, and what was done before. A
            spec holds every argument, so one without them is older.
    """

    former: ClassVar[Mapping[str, Any]] = {}
    _spec: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    @property
    def spec(self) -> dict[str, Any]:
        """This object as plain data: `class_path` and `init_args`, defaults included, nested objects as specs."""
        spec = self.__dict__.get("_spec")
        if spec is None:  # a class without an __init__ of its own has no arguments to record
            spec = {"class_path": class_path(type(self)), "init_args": {}}
        return spec


class Part(Configurable):
    """A part of a planner that isn't a module: a selector, a hook, a measure, an optimiser of plans.

    What it learns during a run (a weight that is tuned, say) is its state. A planner forgets it at `build` and keeps it in
    its checkpoints, also of parts within parts, learners and models, so that a resumed run equals an unbroken one. An
    evaluation puts it back. Most parts have none.
    """

    def reset(self) -> None:
        """Forgets whatever it has learned."""

    def fitted(self, model: Any, rows: Any) -> None:
        """Sees the real rows after each refit, for scales and thresholds that are taken from data.

        What it takes from them is its state: `state_dict` keeps it, `reset` forgets it.

        Args:
            model: the dynamics model, just fitted; None where a planner has none, which shows its rows as often.
            rows: the `Transitions` `N` that it was fitted to; they may be views of a buffer, which later rows overwrite.
        """

    def state_dict(self) -> dict[str, Any]:
        """Its state for a checkpoint: tensors and plain data; empty without one."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`; tensors come on the CPU."""
        if state:
            raise CheckpointError(
                f"{type(self).__name__}: expected load_state_dict beside a non-empty state_dict, got none; implement it."
            )


def _recording(init: Any) -> Any:
    signature = resolved_signature(init)

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        args, kwargs = without_numpy(args, kwargs)
        bound = bound_arguments(signature, self, args, kwargs)
        given = {*bound.arguments, *kwargs}
        bound.apply_defaults()
        outermost = "_spec" not in self.__dict__  # the constructor that sees what the user wrote
        if outermost:
            made: Any = type(self)
            _tell_if_unreachable(made)
            init_args = _plain_arguments(self, signature, bound)
            object.__setattr__(self, "_spec", {"class_path": class_path(type(self)), "init_args": init_args})
            object.__setattr__(self, "_passes_on", _passes_keywords_on(init))
        elif self.__dict__.get("_passes_on"):  # what the constructor outside left at our defaults belongs to its spec too
            defaults = _plain_arguments(self, signature, bound)
            self._spec["init_args"].update({name: defaults[name] for name in defaults if name not in given})
            object.__setattr__(self, "_passes_on", _passes_keywords_on(init))
        try:
            check_arguments(init, self, bound)
            init(self, *args, **kwargs)
        finally:
            if outermost:
                object.__delattr__(self, "_passes_on")

    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    return wrapped


def _plain_arguments(made: Any, signature: inspect.Signature, bound: inspect.BoundArguments) -> dict[str, Any]:
    """The arguments of a constructor by name, as plain data, those of `**kwargs` among them."""
    arguments: dict[str, Any] = {}
    for name, value in list(bound.arguments.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL:
            arguments[name] = value
    where = type(made).__name__
    return {name: plain(value, f"{where}({name}=…)") for name, value in arguments.items()}


@functools.cache
def _passes_keywords_on(init: Any) -> bool:
    """Whether a constructor hands its `**kwargs` to another `__init__`, so that it takes what that one takes."""
    parameters = inspect.signature(init).parameters.values()
    keywords = next((item.name for item in parameters if item.kind is inspect.Parameter.VAR_KEYWORD), None)
    if keywords is None:
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):  # typed at a prompt
        return False
    return any(
        isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "__init__"
        and any(
            item.arg is None and isinstance(item.value, ast.Name) and item.value.id == keywords for item in call.keywords
        )
        for call in ast.walk(tree)
    )


@functools.cache
def _tell_if_unreachable(cls: Any) -> None:
    """Warns of a class that no other process could import, so that nobody learns it when a checkpoint is loaded."""
    where = "a function" if "<locals>" in cls.__qualname__ else "the script itself" if cls.__module__ == "__main__" else None
    if where is not None:
        warnings.warn(
            f"{cls.__qualname__}: expected a class that other processes can import, as checkpoints hold its name, got one "
            f"that is defined in {where}; a checkpoint with it can't be loaded elsewhere until you move it to a module.",
            MbrlWarning,
            4,
        )


def plain(value: Any, where: str = "value") -> Any:
    """`value` as plain data that `torch.load(weights_only=True)` and YAML read back equal.

    Raises:
        ConfigError: if `value` holds anything but numbers, strings, lists, dicts, None and `Configurable` objects.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, np.bool_):  # no Integral, unlike NumPy's numbers
        return bool(value)
    if isinstance(value, str):
        return str.__str__(value)  # the plain text of a StrEnum too
    if isinstance(value, numbers.Integral):  # NumPy's scalars are numbers too, and no checkpoint may hold one
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Configurable):
        return value.spec
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if callable(value) and hasattr(value, "__qualname__"):
        return name_of(value, where)
    raise ConfigError(
        f"{where}: expected plain data or a Configurable, got {type(value).__name__}; pass its numbers or its dotted name."
    )


def is_spec(value: Any) -> bool:
    """True if `value` is a dict with `class_path` and, at most, `init_args`."""
    return isinstance(value, Mapping) and "class_path" in value and set(value) <= {"class_path", "init_args"}


def from_spec(spec: Mapping[str, Any], allow: Sequence[str] = (), *, recorded: bool = False) -> Any:
    """Makes the object that `spec` describes.

    Args:
        spec: `class_path` and `init_args`, nested specs allowed.
        allow: modules, besides `mbrl`, in which names may be looked up.
        recorded: whether an object recorded it, every argument included, so that one that it lacks came later
            (`Configurable.former`); else it means the default of today.

    Raises:
        UntrustedNameError: if a name lies outside `mbrl` and `allow`.
        ConfigError: if `spec` is no spec, names what can't be made from one, or gives arguments that it doesn't take.
    """
    if not (is_spec(spec) and isinstance(spec["class_path"], str) and isinstance(spec.get("init_args", {}), Mapping)):
        raise ConfigError(f"expected a spec of class_path, a dotted name, and init_args, a mapping, got {spec!r}.")
    cls = import_name(spec["class_path"], allow)
    if not (isinstance(cls, type) and issubclass(cls, Configurable)):
        raise ConfigError(f"expected {spec['class_path']} to be a configurable class, got {cls!r}; name a Configurable.")
    if inspect.isabstract(cls):
        raise ConfigError(f"expected {spec['class_path']} to be a concrete class, got an abstract one; name a subclass.")
    given = spec.get("init_args", {})
    given = completed(cls, given) if recorded else given
    arguments = {name: _made(value, allow, recorded) for name, value in given.items()}
    signature = inspect.signature(cls)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise ConfigError(f"{cls.__name__}: {error}; it takes {takes}.") from None
    return cls(**arguments)


def completed(cls: type, init_args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a spec of `cls`, and what those that it lacks did when it was written (`Configurable.former`)."""
    found = dict(init_args)
    for parent in cls.__mro__:
        init = parent.__dict__.get("__init__")
        if init is None:
            continue
        for name, value in parent.__dict__.get("former", {}).items():
            found.setdefault(name, value)
        if not _passes_keywords_on(inspect.unwrap(init)):
            break
    return found


def _made(value: Any, allow: Sequence[str], recorded: bool) -> Any:
    if is_spec(value):
        return from_spec(value, allow, recorded=recorded)
    if isinstance(value, Mapping):
        return {key: _made(item, allow, recorded) for key, item in value.items()}
    if isinstance(value, list):
        return [_made(item, allow, recorded) for item in value]
    return value
