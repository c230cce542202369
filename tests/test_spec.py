"""Specs: objects describe themselves in plain data, and are made again from it only where names are trusted."""

from __future__ import annotations

import enum
import importlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mbrl.errors import ConfigError, MbrlWarning, UntrustedNameError
from mbrl.models import GaussianEnsemble
from mbrl.names import address, check_allowed, class_path, import_name, name_of
from mbrl.planners import ICEM
from mbrl.spec import Configurable, from_spec, is_spec, plain

HERE = __name__


def swing(obs: Any) -> Any:
    return obs


class Part(Configurable):
    def __init__(self, size: int = 3, names: Sequence[Any] = ("a",)) -> None:
        self.size, self.names = size, names


class Whole(Configurable, nn.Module):
    def __init__(self, part: Part, /, rate: float = 0.5, *, table: dict[str, Any] | None = None, **more: int) -> None:
        super().__init__()
        self.part, self.rate, self.table, self.more = part, rate, table, more


class Child(Part):
    def __init__(self, size: int = 7) -> None:
        super().__init__(size * 2)


class Bare(Configurable):
    pass


class Inherits(Part):
    pass


class NotConfigurable:
    pass


def test_spec_holds_what_was_written_and_the_defaults() -> None:
    whole = Whole(Part(size=4), table={"x": [1, (2, None)]}, extra=5)
    assert whole.spec == {
        "class_path": f"{HERE}.Whole",
        "init_args": {
            "part": {"class_path": f"{HERE}.Part", "init_args": {"size": 4, "names": ["a"]}},
            "rate": 0.5,
            "table": {"x": [1, [2, None]]},
            "extra": 5,
        },
    }


def test_the_outermost_constructor_is_recorded() -> None:
    assert Child(5).spec == {"class_path": f"{HERE}.Child", "init_args": {"size": 5}}
    assert Inherits(9).spec["class_path"] == f"{HERE}.Inherits"
    assert Inherits(9).spec["init_args"]["size"] == 9
    assert Bare().spec == {"class_path": f"{HERE}.Bare", "init_args": {}}


class Middle(Part):
    def __init__(self, weight: float = 0.5, **part: Any) -> None:
        super().__init__(**part)
        self.weight = weight


class Outer(Middle):
    def __init__(self, slope: float = 1.0, **rest: Any) -> None:
        super().__init__(names=("own",), **rest)
        self.slope = slope


class KeepsItsKeywords(Part):
    def __init__(self, **more: float) -> None:
        super().__init__()
        self.more = more


def test_keywords_that_are_passed_on_record_the_parents_defaults() -> None:
    outer = Outer(size=4)
    assert outer.spec["init_args"] == {"slope": 1.0, "size": 4, "weight": 0.5}  # names are its own business
    again = from_spec(outer.spec, allow=[HERE])
    assert again.spec == outer.spec
    assert (again.size, again.names, again.weight) == (4, ("own",), 0.5)
    assert Middle().spec["init_args"] == {"weight": 0.5, "size": 3, "names": ["a"]}
    assert KeepsItsKeywords(x=1.0).spec["init_args"] == {"x": 1.0}  # they reach no parent, who has its own defaults


def test_a_class_is_known_by_the_shortest_package_that_exports_it() -> None:
    assert class_path(GaussianEnsemble) == "mbrl.models.GaussianEnsemble"
    assert class_path(ICEM) == "mbrl.planners.ICEM"
    assert class_path(Part) == f"{HERE}.Part"
    for name in ("mbrl.models.gaussian_ensemble.GaussianEnsemble", "mbrl.models.moved.GaussianEnsemble"):
        assert address(name) == "mbrl.models.GaussianEnsemble"
        assert import_name(name) is GaussianEnsemble
    for name in ("mbrl.models.Gone", "not_imported_here.X", "", "word", "os.path"):
        assert address(name) == name
    assert "not_imported_here" not in sys.modules
    for name in ("mbrl.models.GaussianEnsemble.Pendulum", "mbrl.planners.Dyna.nothing.PETS"):  # no file of that name ever
        with pytest.raises(ConfigError, match="check the spelling"):
            import_name(name)


def test_asking_for_an_address_imports_nothing() -> None:
    before = set(sys.modules)
    assert address("scipy.datasets.face.X") == "scipy.datasets.face.X"
    assert set(sys.modules) == before


def test_a_spec_that_is_written_by_hand_means_the_defaults_of_today() -> None:
    spec = {"class_path": "mbrl.models.GaussianEnsemble", "init_args": {"members": 3, "elites": 3}}
    assert from_spec(spec).normalize_targets
    older = from_spec(spec, recorded=True)
    assert not older.normalize_targets and older.spec["init_args"]["termination"] == "threshold"


def test_every_public_configurable_class_has_a_public_name() -> None:
    for package in ("data", "envs", "models", "planners", "policies", "uncertainty"):
        module = importlib.import_module(f"mbrl.{package}")
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, type):
                assert class_path(found) == f"mbrl.{package}.{name}"


def test_a_class_that_nobody_else_can_import_is_told_when_it_is_made() -> None:
    class Local(Part):
        pass

    with pytest.warns(MbrlWarning, match=r"Local: .*is defined in a function; .*until you move it to a module"):
        Local()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Local()  # once is enough
    script = type("Script", (Part,), {"__module__": "__main__"})
    with pytest.warns(MbrlWarning, match=r"Script: .*is defined in the script itself"):
        script()


def test_a_later_change_of_an_argument_does_not_reach_the_spec() -> None:
    table = {"x": [1]}
    whole = Child(1), Whole(Part(), table=table)
    table["x"].append(2)
    assert whole[1].spec["init_args"]["table"] == {"x": [1]}


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    made = Child(5).spec
    torch.save({"spec": made}, tmp_path / "spec.pt")
    again = from_spec(torch.load(tmp_path / "spec.pt", weights_only=True)["spec"], allow=[HERE])
    assert isinstance(again, Child)
    assert again.size == 10
    assert again.spec == made


def test_nested_specs_are_made() -> None:
    spec = {"class_path": f"{HERE}.Part", "init_args": {"names": [{"class_path": f"{HERE}.Child", "init_args": {}}]}}
    part = from_spec(spec, allow=[HERE])
    assert isinstance(part.names[0], Child)


class Colour(str, enum.Enum):  # noqa: UP042 - str(Colour.RED) is not "red", unlike a StrEnum's
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.25), 0.25),
        (np.float32(0.25), 0.25),
        (np.int64(3), 3),
        (True, True),
        (Colour.RED, "red"),
        (Path("a") / "b", str(Path("a") / "b")),
        ({1: (2,)}, {"1": [2]}),
        (swing, f"{HERE}.swing"),
    ],
)
def test_plain_makes_primitives(value: Any, expected: Any) -> None:
    made = plain(value)
    assert made == expected
    assert type(made) is type(expected)


@pytest.mark.parametrize("value", [torch.zeros(1), np.zeros(1), object(), {"a": {1, 2}}, 1j])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"Part\(names=.*expected plain data.*got"):
        Part(names=value)


def test_functions_without_an_importable_name_are_refused() -> None:
    def nested() -> None: ...

    for function in (nested, lambda obs: obs):
        with pytest.raises(ConfigError, match="top of a module"):
            name_of(function)


def test_is_spec() -> None:
    assert is_spec({"class_path": "a.B"})
    assert is_spec({"class_path": "a.B", "init_args": {}})
    assert not is_spec({"class_path": "a.B", "init_args": {}, "more": 1})
    assert not is_spec("a.B")


@pytest.mark.parametrize(
    "spec",
    [
        {"init_args": {}},
        "a.B",
        None,
        {"class_path": "a", "x": 1},
        {"class_path": 3},
        {"class_path": "a.B", "init_args": [1]},
    ],
)
def test_no_spec_is_refused(spec: Any) -> None:
    with pytest.raises(ConfigError, match="expected a spec"):
        from_spec(spec)


def test_what_a_class_does_not_take_is_refused_in_a_sentence() -> None:
    """Not as a TypeError, since specs come from files and the command line."""
    with pytest.raises(ConfigError, match=r"^Part: got an unexpected keyword argument 'sise'; it takes size, names\.$"):
        from_spec({"class_path": f"{HERE}.Part", "init_args": {"sise": 3}}, allow=[HERE])
    with pytest.raises(ConfigError, match=r"expected mbrl\.uncertainty\.UncertaintyMeasure to be .* got an abstract one"):
        from_spec({"class_path": "mbrl.uncertainty.UncertaintyMeasure", "init_args": {}})


def test_only_configurable_classes_are_made() -> None:
    for name in ("NotConfigurable", "swing"):
        with pytest.raises(ConfigError, match="configurable class"):
            from_spec({"class_path": f"{HERE}.{name}"}, allow=[HERE])


def test_names_outside_are_refused_before_they_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trap_of_test_spec.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UntrustedNameError, match=r"--allow trap_of_test_spec.*allow=\['trap_of_test_spec'\]"):
        from_spec({"class_path": "trap_of_test_spec.X"})
    assert "trap_of_test_spec" not in sys.modules
    with pytest.raises(UntrustedNameError):
        check_allowed("mbrl_evil.X")  # a prefix of letters is no package
    check_allowed("mbrl.spec.plain")
    check_allowed("mine.sub.X", ["mine"])
    check_allowed("mine:Env-v0", ["mine"])
    check_allowed("mine.sub.X", "mine")  # one name, not a sequence of letters
    with pytest.raises(UntrustedNameError):
        check_allowed("m.X", "mine")


@pytest.mark.parametrize(
    "name",
    ["mbrl.spec.os.getcwd", "mbrl.names.importlib.import_module", "mbrl.spec.os", "mbrl.spec.inspect.sys.modules.clear"],
)
def test_a_trusted_module_is_no_way_to_what_it_imports(name: str) -> None:
    with pytest.raises(UntrustedNameError, match="outside mbrl"):
        import_name(name)


def test_import_name_finds_nested_names() -> None:
    assert import_name("mbrl.spec.Configurable.spec") is Configurable.spec
    assert import_name("collections.abc.Mapping", None).__name__ == "Mapping"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mbrl.spec.plane", "mbrl.spec has no plane"),
        ("no_such_package_at_all.x", "expected a dotted name that can be imported"),
        ("word", "expected a dotted name that can be imported"),
        ("", "expected a dotted name that can be imported"),
        (".mbrl.x", "expected a dotted name that can be imported"),
        ("mbrl..spec", "expected a dotted name that can be imported"),
    ],
)
def test_wrong_names_get_their_sentence(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        import_name(name, None)


def test_an_import_error_inside_a_module_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_of_test_spec.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        import_name("needs_of_test_spec.x", None)


def test_a_wrong_argument_names_the_class_and_what_it_takes() -> None:
    with pytest.raises(TypeError, match=r"^Part: got an unexpected keyword argument 'sise'; it takes size, names\.$"):
        Part(sise=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^Whole: missing a required .*'part'; it takes part, rate, table, more\.$"):
        Whole()  # type: ignore[call-arg]


def test_advice_for_what_nobody_can_import_is_not_to_allow_it() -> None:
    for name, where in (("__main__.Own", "a script itself"), ("mine.make.<locals>.Own", "a function")):
        with pytest.raises(UntrustedNameError, match=f"expected a name that can be imported, got .* of {where}; move it to"):
            check_allowed(name)


def test_the_inside_of_a_function_is_no_place_for_names() -> None:
    with pytest.raises(ConfigError, match="check the spelling"):
        import_name("mbrl.names.import_name.__globals__.clear")
