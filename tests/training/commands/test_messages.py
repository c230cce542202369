"""Every message of the parser becomes one sentence that names the setting and what to do."""

from __future__ import annotations

import pytest

from mbrl.training.commands.messages import sentence


def _not_of(key: str, kinds: str, value: str) -> str:
    """The parser's words for a value that is of no type of a union."""
    errors = "    - Expected a <class 'float'>\n    - Expected a <class 'float'>. Got value: a"
    return (
        f'Parser key "{key}":\n  Does not validate against any of the Union subtypes\n  Subtypes: [{kinds}]\n'
        f"  Errors:\n{errors}\n  Given value type: <class 'x'>\n  Given value: {value}"
    )


KNOWN = ["trainer.eval_every", "trainer.folder", "horizon", "plans"]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "Option 'horizont' is not accepted",
            "horizont: expected a setting that exists, got this one; did you mean horizon?",
        ),
        (
            "Subcommand 'fit' does not accept option 'trainer.eval_evry'",
            "trainer.eval_evry: expected a setting that exists, got this one; did you mean trainer.eval_every?",
        ),
        (
            _not_of("trainer.keep_at", "collections.abc.Mapping[str, typing.Any], <class 'NoneType'>", "[1, 2]"),
            "trainer.keep_at: expected a mapping, or null, got [1, 2].",
        ),
        ("Option 'x' is not accepted", "x: expected a setting that exists, got this one; choose one of horizon, plans."),
        (
            'Parser key "model":\n  Does not validate against any of the Union subtypes\n  Errors:\n'
            "    - Problem with given class_path 'mine.Planner':\n        No module named 'mine'\n"
            "    - Expected a <class 'NoneType'>\n  Given value type: <class 'dict'>",
            "class_path: expected the dotted name of a class, got mine.Planner (No module named 'mine'); check the "
            "spelling; for a module of your own add --allow MODULE, which puts the current folder on the path.",
        ),
        (
            'Parser key "dynamics":\n  Import path mbrl.policies.SAC does not correspond to a subclass of DynamicsModel',
            "dynamics: expected a class derived from DynamicsModel, got mbrl.policies.SAC, which is none; "
            "give the class_path of one.",
        ),
        (
            "Parser key \"horizon\":\n  Expected a <class 'int'>. Got value: eight",
            "horizon: expected a whole number, got eight.",
        ),
        (
            "Parser key \"hidden\":\n  Expected a <class 'collections.abc.Sequence'>. Got value: 16",
            "hidden: expected a list, got 16.",
        ),
        (
            "Parser key \"propagation\":\n  Expected a typing.Literal['ts1', 'mm']. Got value: ts2",
            "propagation: expected one of ts1, mm, got ts2.",
        ),
        (
            _not_of("temperature", "typing.Annotated[float, of at least 0], typing.Literal['learned']", "True"),
            "temperature: expected a number of at least 0, or learned, got True.",
        ),
        (
            _not_of("real_ratio", "typing.Annotated[float, from 0 to 1], collections.abc.Sequence[float]", "['a', 2]"),
            "real_ratio: expected a number from 0 to 1, or a list, got ['a', 2].",
        ),
        (
            _not_of("terminal_value", "typing.Literal['mean', 'min'], <class 'NoneType'>", "max"),
            "terminal_value: expected one of mean, min, or null, got max.",
        ),
        (
            _not_of("env_kwargs", "dict[str, typing.Any], <class 'NoneType'>", "[1]"),
            "env_kwargs: expected a mapping, or null, got [1].",
        ),
        (
            _not_of("elites", "typing.Annotated[int, of at least 1], <class 'NoneType'>", "None"),
            "elites: expected a whole number of at least 1, or null in a file, got it on the command "
            "line; give a file by --config.",
        ),
        (
            "the following arguments are required: fit.data",
            "data: expected a value, got none; set it in the configuration or on the command line.",
        ),
        (
            "Parser key \"config\": File does not exist: 'no.yaml'",
            "config: File does not exist: 'no.yaml'; mbrl COMMAND --help lists what can be set.",
        ),
    ],
)
def test_one_sentence(message: str, expected: str) -> None:
    assert sentence(message, KNOWN) == expected


def test_without_known_settings_the_help_is_named() -> None:
    assert sentence("Option 'x' is not accepted").endswith("mbrl COMMAND --help lists what can be set.")
