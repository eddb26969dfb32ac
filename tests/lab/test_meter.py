"""A metered rotation of real hosts: the counts are those of calls that were made."""

from pathlib import Path

import pytest

from hivekeys.lab import Lab

from .asking import log_of
from .rotating import fab, serves, truth, write_policy

pytestmark = pytest.mark.lab


def test_the_last_line_says_how_many_requests_were_refused(lab: Lab, tmp_path: Path) -> None:
    """Each hive refuses its clients from the queen's turn to its own; and our own calls hold no old token back."""
    write_policy(lab, stable_seconds=1)
    old = truth(lab)["queen"].token

    answer = fab("rotate", "--fleet", lab.name, "--yes", "--json", "--meter", state=tmp_path)

    assert answer.code == 0, answer.err
    meter = answer.document["meter"]
    assert meter["requests"] > 50
    assert meter["hosts"]["hive5"]["refused"] > meter["hosts"]["queen"]["refused"], "hive5 turned last"
    assert meter["refused"] == sum(host["refused"] for host in meter["hosts"].values())
    assert serves(lab, truth(lab)["queen"].token, refused=old)
    shown = fab("status", "--fleet", lab.name, "--run", "last", state=tmp_path)
    assert f"{meter['refused']:,} of {meter['requests']:,} requests refused" in shown.out
    assert old not in log_of(lab, "hive1")


def test_a_rotation_that_may_refuse_no_request_goes_back(lab: Lab, tmp_path: Path) -> None:
    write_policy(lab, stable_seconds=1)
    old = truth(lab)["queen"].token

    answer = fab("rotate", "--fleet", lab.name, "--yes", "--json", "--no-refusal", state=tmp_path)

    assert answer.code == 3, answer.err
    assert "(--no-refusal)" in answer.document["stopped"]
    assert serves(lab, old)
