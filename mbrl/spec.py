"""Specs: how a configurable object is described by plain data and made again from it.

A spec is `{"class_path": "package.module.Class", "init_args": {...}}`, the form that LightningCLI reads from YAML, with
nested objects as nested specs. Objects record it at construction, whether YAML or Python made them, so a checkpoint can
hold it and `from_spec` can rebuild the object in a process that never saw the script.

Names in files run nothing by themselves: `import_name` resolves only names in `mbrl` and in modules that the caller
allows.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from mbrl.errors import CheckpointError, ConfigError, UntrustedNameError


class Configurable:
    """Base of every object that YAML can make: records its own spec at construction.

    Constructors take hyperparameters only (numbers, strings, lists, dicts, None, other `Configurable` objects), so that
    the spec says all there is to say; sizes, data and generators arrive later, in `build` or as arguments.
    """

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
    its checkpoints, also of parts within parts, so that a resumed run equals an unbroken one. Most parts have none.
    """

    def reset(self) -> None:
        """Forgets whatever it has learned."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: tensors and plain data; empty without a state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from `state_dict`; tensors come on the CPU."""
        if state:
            raise CheckpointError(
                f"{type(self).__name__}: expected load_state_dict beside a state_dict that isn't empty, got none; implement "
                "it, so that a resumed run goes on where it was."
            )


def parts_of(owner: Any, name: str = "") -> dict[str, Part]:
    """The parts among an object's attributes, also in lists, dicts and other parts, by the path to each.

    Args:
        owner: such as a planner.
        name: path of `owner`, for the names.
    """
    found: dict[str, Part] = {}

    def look(value: Any, path: str) -> None:
        if isinstance(value, Part):
            found[path] = value
            found.update(parts_of(value, path))
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                look(item, f"{path}.{i}")
        elif isinstance(value, Mapping):
            for key, item in value.items():
                look(item, f"{path}.{key}")

    for attribute, value in vars(owner).items():
        look(value, f"{name}.{attribute}" if name else attribute)
    return found


def _recording(init: Any) -> Any:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        if "_spec" not in self.__dict__:  # the outermost constructor sees what the user wrote
            bound = _bound(signature, self, args, kwargs)
            bound.apply_defaults()
            arguments: dict[str, Any] = {}
            for name, value in list(bound.arguments.items())[1:]:
                kind = signature.parameters[name].kind
                if kind is inspect.Parameter.VAR_KEYWORD:
                    arguments.update(value)
                elif kind is not inspect.Parameter.VAR_POSITIONAL:
                    arguments[name] = value
            where = type(self).__name__
            init_args = {name: plain(value, f"{where}({name}=…)") for name, value in arguments.items()}
            object.__setattr__(self, "_spec", {"class_path": class_path(type(self)), "init_args": init_args})
        init(self, *args, **kwargs)

    return wrapped


def _bound(signature: inspect.Signature, made: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    try:
        return signature.bind(made, *args, **kwargs)
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:]) or "nothing"
        raise TypeError(f"{type(made).__name__}: {error}; it takes {takes}.") from None


def class_path(cls: type) -> str:
    """The dotted name under which `cls` can be imported."""
    return f"{cls.__module__}.{cls.__qualname__}"


def plain(value: Any, where: str = "value") -> Any:
    """`value` as plain data that `torch.load(weights_only=True)` and YAML read back equal.

    Raises:
        ConfigError: if `value` holds anything but numbers, strings, lists, dicts, None and `Configurable` objects.
    """
    if value is None or isinstance(value, bool):
        return value
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
        f"{where}: expected plain data (numbers, strings, lists, dicts) or an object of this library, got "
        f"{type(value).__name__}; pass the numbers themselves, or name the object by its dotted path."
    )


def name_of(function: Any, where: str = "function") -> str:
    """The dotted name of a module-level function or class.

    Raises:
        ConfigError: for a lambda or a nested function, which no other process could import.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    if "<" in name:
        raise ConfigError(
            f"{where}: expected a function with a dotted name, got {name}; define it at the top of a module, so that a "
            "checkpoint can name it."
        )
    return name


def is_spec(value: Any) -> bool:
    """Whether `value` is a dict with `class_path` and, at most, `init_args`."""
    return isinstance(value, Mapping) and "class_path" in value and set(value) <= {"class_path", "init_args"}


def from_spec(spec: Mapping[str, Any], allow: Sequence[str] = ()) -> Any:
    """Makes the object that `spec` describes.

    Args:
        spec: `class_path` and `init_args`, nested specs allowed.
        allow: modules, besides `mbrl`, in which names may be looked up.

    Raises:
        UntrustedNameError: if a name lies outside `mbrl` and `allow`.
        ConfigError: if `spec` is no spec, names what can't be made from one, or gives arguments that it doesn't take.
    """
    if not (is_spec(spec) and isinstance(spec["class_path"], str) and isinstance(spec.get("init_args", {}), Mapping)):
        raise ConfigError(
            f"expected a spec with 'class_path', a dotted name, and 'init_args', arguments by name, got {spec!r}; write "
            "these."
        )
    cls = import_name(spec["class_path"], allow)
    if not (isinstance(cls, type) and issubclass(cls, Configurable)):
        raise ConfigError(
            f"expected {spec['class_path']} to be a configurable class of this library's kind, got {cls!r}; name another."
        )
    if inspect.isabstract(cls):
        raise ConfigError(
            f"expected {spec['class_path']} to be a class that can be made, got an abstract one; name one of its kinds."
        )
    arguments = {name: _made(value, allow) for name, value in spec.get("init_args", {}).items()}
    signature = inspect.signature(cls)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        takes = ", ".join(signature.parameters) or "nothing"
        raise ConfigError(f"{cls.__name__}: {error}; it takes {takes}.") from None
    return cls(**arguments)


def _made(value: Any, allow: Sequence[str]) -> Any:
    if is_spec(value):
        return from_spec(value, allow)
    if isinstance(value, Mapping):
        return {key: _made(item, allow) for key, item in value.items()}
    if isinstance(value, list):
        return [_made(item, allow) for item in value]
    return value


def check_allowed(name: str, allow: Sequence[str] = ()) -> None:
    """Refuses a dotted name outside `mbrl` and the modules in `allow`.

    Args:
        name: such as `my_package.rewards.swing_up`, or an environment's id with a module, `my_package:MyEnv-v0`.
        allow: modules, besides `mbrl`, or the only one.

    Raises:
        UntrustedNameError: with the flag that would allow it.
    """
    path = name.split(":")[0]
    allowed = ("mbrl", allow) if isinstance(allow, str) else ("mbrl", *allow)  # a lone name is a sequence too, of letters
    if any(path == module or path.startswith(f"{module}.") for module in allowed):
        return
    module = path.split(".")[0]
    raise UntrustedNameError(
        f"expected a name in mbrl, got {name}, which lies outside mbrl, and names run nothing there unless their module is "
        f"trusted; if you trust it, add --allow {module} (from Python: allow=[{module!r}])."
    )


def import_name(name: str, allow: Sequence[str] | None = ()) -> Any:
    """Imports the object with a dotted name.

    Args:
        name: such as `my_package.rewards.swing_up`.
        allow: modules, besides `mbrl`, in which names may be looked up; None for a name that the user wrote in their own
            YAML or Python, which may lie anywhere.

    Raises:
        UntrustedNameError: if the name lies outside `mbrl` and `allow`.
        ConfigError: if there is no such object.
    """
    if allow is not None:
        check_allowed(name, allow)
    parts = name.split(".")
    if not all(parts):
        parts = []
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not (module_name == error.name or module_name.startswith(f"{error.name}.")):
                raise  # the module exists, and something that it imports doesn't
            continue
        try:
            for part in parts[cut:]:
                if allow is not None and inspect.ismodule(found):
                    check_allowed(found.__name__, allow)
                found = getattr(found, part)
        except AttributeError:
            raise ConfigError(
                f"expected {name} to exist, but {module_name} has no {'.'.join(parts[cut:])}; check the spelling."
            ) from None
        if allow is not None:  # a trusted module's imports are no way out: mbrl.spec.os.system is os.system
            home = found.__name__ if inspect.ismodule(found) else getattr(found, "__module__", None)
            check_allowed(home or module_name, allow)
        return found
    raise ConfigError(
        f"expected a dotted name such as package.module.name, and {name!r} can't be imported; check the spelling, and "
        "that its folder is on the path (--allow MODULE puts the current folder there)."
    )
