"""The program that hosts run: one text that needs nothing of ours beside it, in which everything stands once."""

import ast
from collections import Counter

import pytest

from hivekeys.protocol.program import ALLOWED, installed_program, program_of


def tops(program: bytes) -> list[str]:
    """The names of its functions and classes, in their order."""
    return [node.name for node in ast.parse(program).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


@pytest.mark.parametrize("program", [program_of(), program_of("inspect", "fix", "sweep"), installed_program()])
def test_a_program_imports_nothing_of_ours_and_has_each_module_once(program: bytes) -> None:
    imported = {node.module for node in ast.parse(program).body if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name and name.startswith("hivekeys")}, "but for what type checkers read"
    assert {name: times for name, times in Counter(tops(program)).items() if times > 1} == {}


def test_what_a_module_needs_stands_before_it() -> None:
    names = tops(program_of("fix"))
    for first, then in (("Refusal", "Deadline"), ("State", "Agent"), ("Agent", "observe"), ("inspect", "fix")):
        assert names.index(first) < names.index(then)


def test_a_rotation_brings_only_its_own_verbs_and_another_verb_brings_its_modules() -> None:
    assert not {"inspect", "fix", "sweep", "audit"} & set(tops(program_of()))
    assert {"fix", "inspect", "Work"} <= set(tops(program_of("fix")))
    assert "sweep" not in tops(program_of("fix"))


def test_an_installed_program_is_whole_and_begins_at_the_gate() -> None:
    program = installed_program()
    assert set(ALLOWED) <= set(tops(program))
    assert program.startswith(b"#!/usr/bin/python3 -IS\n")
    assert program.endswith(b'if __name__ == "__main__":\n    guarded_main()\n')
    assert program.count(b'if __name__ == "__main__":') == 1
    assert len(program_of(*ALLOWED)) < len(program), "what is sent has no docstrings and comments"


def test_what_is_sent_begins_its_work_with_its_last_line() -> None:
    assert program_of("inspect").endswith(b'if __name__ == "__main__":\n    main()\n')
    assert program_of("inspect").count(b"    main()\n") == 1
