"""A verb has two halves, a class in the engine and a function in the agent: what each says of it is the same."""

import importlib
import inspect
from pathlib import Path

import pytest

import hivekeys.host.verbs
from hivekeys.fleet import Policy
from hivekeys.host import gate
from hivekeys.host.agent import VERBS
from hivekeys.protocol.program import installed_program, program_of
from hivekeys.protocol.verbs import STEPS, UPKEEP, Step, Verb
from hivekeys.protocol.wire import encode
from tests.builders.steps import PRINT, TOKEN, every_step

FILES = sorted(path.stem for path in Path(str(hivekeys.host.verbs.__file__)).parent.glob("[!_]*.py"))
for name in FILES:
    importlib.import_module(f"hivekeys.host.verbs.{name}")
every_verb = pytest.mark.parametrize("verb", Verb, ids=lambda verb: verb.value)


def test_both_have_the_same_verbs_and_a_file_bears_its_verbs_name() -> None:
    assert set(Verb) == set(STEPS) == {step.verb for step in every_step()}
    assert {verb.value for verb in Verb} == set(VERBS)
    assert set(FILES) <= set(VERBS)


@pytest.mark.parametrize("step", every_step(), ids=lambda step: step.verb.value)
def test_a_step_brings_what_the_agents_function_takes(step: Step) -> None:
    """In restricted mode all of it: the gate asks for every field."""
    words = encode(step, Policy(), {PRINT: TOKEN})
    agent, *takes = inspect.signature(VERBS[words.pop("verb")][0]).parameters
    assert agent == "agent"
    assert set(words) == set(takes)


@every_verb
def test_both_say_the_same_of_what_it_does(verb: Verb) -> None:
    kind, flags = STEPS[verb], VERBS[verb.value][1]
    assert kind.touches == ("touches" in flags)
    assert kind.moves == ("moves" in flags and kind not in UPKEEP)


@every_verb
def test_it_is_in_every_program_or_in_its_module(verb: Verb) -> None:
    made = f"def {verb.value}(agent".encode()
    assert (made in squeezed(program_of())) == (STEPS[verb].module == "")
    assert made in squeezed(program_of(*filter(None, [STEPS[verb].module])))


@every_verb
def test_restricted_mode_has_all_but_upkeep(verb: Verb) -> None:
    """An installed agent does not hold the others, and its gate would not let them through."""
    allowed = STEPS[verb] not in UPKEEP
    assert (f"def {verb.value}(agent".encode() in squeezed(installed_program())) == allowed
    assert len({"locked", "unlocked"} & set(VERBS[verb.value][1])) == allowed
    assert all(gate.checks_of(verb.value).values()) == allowed, "each field has its check"


def squeezed(program: bytes) -> bytes:
    return program.replace(b"(\n    agent", b"(agent")
