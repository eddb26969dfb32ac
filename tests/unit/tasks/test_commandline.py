"""What is wrong with a line that was typed: it ends with 2 before any verb begins, and says what was meant."""

import json

import pytest
from fabric.main import make_program

import fabfile
from hivekeys.errors import UserError
from hivekeys.tasks.terminal.commandline import UNHONOURED, refuse_mistakes
from tests.builders.fab import Fab

MISTYPED = [
    ("rotat", "there is no task rotat", "did you mean rotate?"),
    ("lab.dwon", "there is no task lab.dwon", "did you mean lab.down"),
    ("plan revok", "plan: there is no task revok", "did you mean revoke?"),
    ("plan hive1", "plan: there is no task hive1", "hosts are named with --limit hive1"),
    ("rotate --yse", "rotate: there is no option --yse", "did you mean --yes"),
    ("rotate --flet paper", "rotate: there is no option --flet", "did you mean --fleet"),
    ("rotate -x", "rotate: there is no option -x", "`fab --help rotate` lists them"),
    ("--lits", "there is no option --lits", "did you mean --list"),
    ("rotate --fleet", "rotate: --fleet needs a value", "`fab --help rotate`"),
    ("rotate --token-file", "rotate: --token-file needs a value", "`fab --help rotate`"),
    ("restore", "restore: FILE is missing", "`fab --help restore`"),
    ("--help rotat", "there is no task rotat", "did you mean rotate?"),
    ("--list lba", "--list lba: there is none", "inventory, lab"),
    ("--list --list-format tree", "--list-format tree: expected flat, nested, json", ""),
    ("plan --list-depth deep", "invalid literal", "`fab --help`"),
    ("plan -- uptime", "-- uptime: there is no such thing to run", "`ssh HOST` does"),
]


def refused(*words: str) -> UserError:
    """What `fab` says to these words as it loads the fabfile."""
    program = make_program()
    program.parse_core(["fab", *words])
    with pytest.raises(UserError) as error:
        refuse_mistakes(program, fabfile.namespace)
    return error.value


@pytest.mark.parametrize(("line", "said", "hint"), MISTYPED, ids=[line for line, _, _ in MISTYPED])
def test_a_mistyped_line_says_what_was_meant(line: str, said: str, hint: str) -> None:
    error = refused(*line.split())
    assert said in error.message and hint in error.hint


def test_it_ends_with_2(fab: Fab) -> None:
    answer = fab("rotate", "--yse")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("hivekeys: rotate: there is no option --yse\n  hint: did you mean --yes")


VALUES = {
    "hosts": "hive1",
    "identity": "key",
    "ssh-config": "config",
    "connect-timeout": "5",
    "command-timeout": "5",
    "config": "fabric.yml",
    "hide": "both",
}


@pytest.mark.parametrize("option", UNHONOURED)
def test_an_option_of_fabrics_that_no_verb_honours_is_refused(option: str) -> None:
    """Our own way stands in its place."""
    value = [VALUES[option]] if option in VALUES else []
    assert refused(f"--{option}", *value, "rotate", "--yes").hint == UNHONOURED[option]
    assert refused("rotate", "--yes", f"--{option}", *value).hint == UNHONOURED[option], "behind the verb as well"


@pytest.mark.parametrize("line", ["-R rotate", "rotate -R", "-wp plan", "rotate -t5", "-i key rotate"])
def test_it_is_refused_in_its_short_form_too(line: str) -> None:
    assert "no verb honours this option of Fabric's" in refused(*line.split()).message


def test_every_option_of_fabrics_that_says_how_commands_run_is_among_them() -> None:
    """A newer Fabric may have more: then it is to be said of each whether a verb honours it."""
    honoured = {"complete", "debug", "help", "list", "list-depth", "list-format", "print-completion-script", "version"}
    honoured |= {"write-pyc", "collection", "no-dedupe", "search-root", "list-agent-keys"}
    names = [set(option.names) for option in make_program().initial_context.args.values()]
    assert [sorted(of) for of in names if not of & (honoured | UNHONOURED.keys())] == []


def test_a_dry_run_that_is_none_turns_no_host(fab: Fab) -> None:
    answer = fab("rotate", "--yes", "--dry")
    assert (answer.code, answer.out) == (2, ""), answer
    assert answer.err.startswith("hivekeys: -R, --dry: no verb honours this option") and "--dry-run" in answer.err
    assert json.loads(fab("history", "--json").out)["runs"] == [], "nothing was begun"


def test_a_dry_run_by_fabrics_environment_is_refused_too(fab: Fab) -> None:
    answer = fab("rotate", "--yes", FABRIC_RUN_DRY="1", INVOKE_RUN_DRY="1")
    assert answer.code == 2 and "run.dry is set" in answer.err and "--dry-run" in answer.err


@pytest.mark.parametrize("line", ["--list lab", "--list --list-format json", "rotate --help"])
def test_what_fab_itself_can_do_it_does(fab: Fab, line: str) -> None:
    answer = fab(*line.split())
    assert answer.code == 0 and answer.out and not answer.err, answer
