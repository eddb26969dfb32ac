"""In which line of its file a host stands, for what points at it."""

import pytest

from hivekeys.inventory.lines import lines_of

TEXT = """fleet = "blue"
[ssh]
user = "deploy"

  [ hosts . queen ]  # the one
role = "queen"
[hosts."hive[01:03]"]
role = "hive"
[hosts."hive[01:03]".service]
port = 9000
[hosts."odd.name"]
[hosts]
late = { role = "hive", address = "10.0.0.9" }
"""


@pytest.mark.parametrize(
    ("host", "line"),
    [("queen", 5), ("hive01", 7), ("hive03", 7), ("odd.name", 11), ("late", 1), ("elsewhere", 1)],
)
def test_a_host_stands_where_its_header_is_or_else_in_the_first_line(host: str, line: int) -> None:
    assert lines_of(TEXT, [host]) == {host: line}


@pytest.mark.parametrize("text", ["[hosts.", "[hosts.x]]", '[hosts."a[1:', "[hosts.\x00]", "hosts.x.role = 1"])
def test_what_is_no_header_of_a_host_is_none(text: str) -> None:
    assert lines_of(text, ["x"]) == {"x": 1}
