"""`Clauses`: what the conformance suites share, clauses that fail with their own sentence and checks of each kind."""

from __future__ import annotations

import copy
import io
import pickle
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mbrl.data import CriticsAsked, Task, Transitions, make_generator
from mbrl.parts import load_states_of_parts, parts_of, reset_parts, states_of_parts
from mbrl.spec import Configurable, Part, from_spec
from mbrl.testing.no_sync import NoScalarReadback, ReadbackError


class ConformanceError(AssertionError):
    """An implementation breaks a clause of its contract; the message names both."""


class Clauses:
    """Clauses of one contract, checked of one implementation.

    Args:
        who: the implementation's name, which starts every message.
    """

    def __init__(self, who: str) -> None:
        self.who = who

    def hold(self, holds: bool | Tensor, clause: str, got: object = None) -> None:
        """Fails unless `holds`.

        Raises:
            ConformanceError: saying the clause, and what came instead.
        """
        if not bool(holds):
            came = "" if got is None else f", got {got}"
            raise ConformanceError(f"{self.who}: the contract says that {clause}{came}.")

    def shaped(self, tensor: Tensor, shape: tuple[int, ...], what: str, like: Tensor | None = None) -> None:
        """Fails unless `tensor` has `shape`, and the dtype and device of `like` if given."""
        self.hold(isinstance(tensor, Tensor), f"{what} is a tensor", type(tensor).__name__)
        self.hold(tensor.shape == shape, f"{what} has shape {tuple(shape)}", tuple(tensor.shape))
        if like is not None:
            self.hold(tensor.dtype == like.dtype, f"{what} keeps its input's dtype ({like.dtype})", tensor.dtype)
            self.hold(tensor.device == like.device, f"{what} stays on its input's device ({like.device})", tensor.device)

    def equal(self, one: Any, other: Any, clause: str, tolerance: float = 0.0) -> None:
        """Fails unless two results (tensors, dataclasses, dicts, sequences of them) are equal to a relative tolerance."""
        difference = _difference(one, other, tolerance)
        self.hold(difference is None, clause, difference)

    @contextmanager
    def untouched(self, what: str, **values: Any) -> Iterator[None]:
        """Fails if `values` (tensors, dataclasses, generators) or a global generator changes within the block."""
        before = {name: _frozen(value) for name, value in values.items()}
        globals_before = _global_states()
        yield
        for name, value in values.items():
            self.equal(_frozen(value), before[name], f"{what} leaves {name} as it was")
        for name, state in _global_states().items():
            self.hold(state == globals_before[name], f"{what} draws from no global generator ({name}'s moved)")

    @contextmanager
    def succeeds(self, clause: str) -> Iterator[None]:
        """Fails with `clause` if the block raises anything."""
        try:
            yield
        except Exception as error:
            came = f"{type(error).__name__}: {error}"
            raise ConformanceError(f"{self.who}: the contract says that {clause}; got {came}") from error

    @contextmanager
    def reads_nothing_back(self, what: str) -> Iterator[None]:
        """Fails if the block reads a value back to the host."""
        try:
            with NoScalarReadback():
                yield
        except ReadbackError as error:
            self.hold(False, f"{what} reads nothing back from the device", error)

    def reads_back(self, value: Any, what: str) -> Any:
        """Returns `value` after saving and loading; fails with `what` and the way it is read if either does."""
        with self.succeeds(f"{what} that torch.load(weights_only=True) reads back"):
            return through_bytes(value)

    def rebuilt(self, made: Configurable) -> Any:
        """Another object from the spec, after both went through bytes as a checkpoint's would."""
        spec = self.reads_back(made.spec, "the spec is plain data")
        allow = [type(made).__module__, *_modules(spec)]
        twin = from_spec(spec, allow=allow)
        self.equal(twin.spec, made.spec, "the spec makes an object with the same spec")
        return twin

    def learned_moves(self, source: Part, target: Part) -> None:
        """Moves what a part, and the parts in it, have learned through bytes into `target`."""
        states = self.reads_back(states_of_parts(SimpleNamespace(part=source)), "what a part has learned is plain data")
        load_states_of_parts(SimpleNamespace(part=target), states)

    def copies(self, made: nn.Module, when: str) -> Iterator[tuple[str, Any]]:
        """Copies of `made`, as other processes and notebooks make them, each with the clause that it does the same.

        What has a class that is defined in a function isn't pickled, since no other process could import that.
        """
        ways: dict[str, Any] = {"copy.deepcopy": copy.deepcopy}
        kinds = [type(part) for part in (*made.modules(), *parts_of(made).values())]
        if not any("<locals>" in kind.__qualname__ for kind in kinds):
            ways["pickle"] = lambda one: pickle.loads(pickle.dumps(one))
        for way, copied in ways.items():
            with self.succeeds(f"it can be copied by {way} {when}"):
                twin = copied(made)
            yield f"a copy by {way} {when} does the same", twin

    def state_moves(self, source: nn.Module, target: nn.Module) -> None:
        """Moves the state dict of `source` through bytes into `target`, alone and inside another module."""
        what = "the state dict holds tensors and plain data"
        alone = self.reads_back(source.state_dict(), what)
        nested = self.reads_back(nn.ModuleDict({"part": source}).state_dict(), what)
        for state, into in ((nested, nn.ModuleDict({"part": target})), (alone, target)):
            with self.succeeds("a freshly built twin takes the state dict, alone and nested"):
                into.load_state_dict(state)
            self.equal(
                {name: value for name, value in into.state_dict().items() if isinstance(value, Tensor)},
                {name: value for name, value in state.items() if isinstance(value, Tensor)},
                "a loaded state dict is the saved one",
            )


def forget(part: Part) -> None:
    """Has a part, and the parts in it, forget what they have learned, as `build` does."""
    reset_parts(SimpleNamespace(part=part))


class SomeValues:
    """Critics that value an observation by its sum and by half of it."""

    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        """`2 x B`, and `4 x B` of both online and target critics."""
        values = torch.stack([obs.sum(-1), 0.5 * obs.sum(-1)])
        return torch.cat([values, values]) if critics == "both" else values


def through_bytes(value: Any) -> Any:
    """`value` after saving and loading as checkpoints do."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def some_rows(task: Task, rows: int = 64) -> Transitions:
    """Transitions of a smooth made-up system with the sizes of `task`, in episodes of 16 rows."""
    generator = make_generator("cpu", "conformance", "rows")
    obs = torch.randn(rows, task.obs_size, generator=generator, dtype=torch.float32) * 0.5
    action = torch.rand(rows, task.action_size, generator=generator, dtype=torch.float32) * 2 - 1
    push = action.mean(-1, keepdim=True)  # rows x 1
    next_obs = 0.95 * obs + 0.1 * torch.tanh(push + obs)
    known = task.reward(obs, action, next_obs)
    reward = -next_obs.square().sum(-1) if known is None else known
    ends = torch.zeros(rows, dtype=torch.bool)
    known = task.terminated(obs, action, next_obs)
    number = torch.arange(rows)
    return Transitions(
        obs=obs,
        action=action,
        reward=reward,
        next_obs=next_obs,
        terminated=ends if known is None else known,
        truncated=(number + 1) % 16 == 0,
        row=number,
        extras={"episode": number // 16},
    )


def some_obs(task: Task, *dims: int) -> Tensor:
    """Observations `dims x S`."""
    generator = make_generator("cpu", "conformance", "obs", dims)
    return torch.randn(*dims, task.obs_size, generator=generator, dtype=torch.float32) * 0.5


def some_actions(task: Task, *dims: int) -> Tensor:
    """Actions `dims x A` in [−1, 1]."""
    generator = make_generator("cpu", "conformance", "action", dims)
    return torch.rand(*dims, task.action_size, generator=generator, dtype=torch.float32) * 2 - 1


def noise(name: str = "noise") -> torch.Generator:
    """A generator that draws the same each time that it is made."""
    return make_generator("cpu", "conformance", name)


# what the methods above need -----------------------------------------------------------------------------------------


def _modules(spec: Any) -> list[str]:
    """The modules that a spec names; they were imported by whoever made the object."""
    if isinstance(spec, Mapping):
        found = [spec["class_path"].rpartition(".")[0]] if isinstance(spec.get("class_path"), str) else []
        return found + [name for value in spec.values() for name in _modules(value)]
    if isinstance(spec, (list, tuple)):
        return [name for value in spec for name in _modules(value)]
    return []


def _global_states() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - to see that nobody draws from it
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "random": random.getstate(),
    }


def _frozen(value: Any) -> Any:
    """A copy to compare with later."""
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Tensor):
        return value.detach().clone()
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _frozen(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_frozen(item) for item in value]
    return value


def _difference(one: Any, other: Any, tolerance: float, where: str = "") -> str | None:
    """Describes what differs between two results; None if nothing does."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"{where or 'tensors'} of {tuple(one.shape)} {one.dtype} and {tuple(other.shape)} {other.dtype}"
        if torch.equal(one, other) or torch.allclose(one.double(), other.double(), tolerance, tolerance, equal_nan=True):
            return None
        return f"{where or 'values'} that differ by up to {(one.double() - other.double()).abs().max().item():.3g}"
    if is_dataclass(one) and not isinstance(one, type) and type(one) is type(other):
        one, other = vars(one), vars(other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{where or 'entries'} {sorted(map(str, one.keys() ^ other.keys()))} in only one of the two"
        pairs = [(f"{where}.{key}".strip("."), one[key], other[key]) for key in one]
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            return f"{where or 'sequences'} of {len(one)} and {len(other)}"
        pairs = [(f"{where}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=True))]
    else:
        same = one is other or (callable(one) and callable(other)) or bool(one == other)  # what functions give is compared
        return None if same else f"{where or 'values'} {one!r} and {other!r}"
    return next((found for path, a, b in pairs if (found := _difference(a, b, tolerance, path)) is not None), None)
