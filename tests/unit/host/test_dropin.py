"""A unit's text without the token that stands in it: the rest of a line stays, and what goes on is left as it is."""

import pytest

from hivekeys.host.dropin import names_token, without_settings

SECRET = "LLORCH_API_TOKEN=0123456789abcdef"


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (f"Environment={SECRET}", []),
        (f"Environment=A=1 {SECRET}", ["Environment=A=1"]),
        (f"Environment={SECRET} B=2", ["Environment=B=2"]),
        (f'Environment="{SECRET} \\"x" "B=2 3"', ['Environment="B=2 3"']),
        (f"Environment=A=1 '{SECRET} x' B=2", ["Environment=A=1 B=2"]),
        (f"Environment = {SECRET}", []),
        ("Environment=LLORCH_API_TOKEN_FILE=/x", ["Environment=LLORCH_API_TOKEN_FILE=/x"]),
        ("Environment=A=1", ["Environment=A=1"]),
        ("EnvironmentFile=/etc/LLORCH_API_TOKEN", ["EnvironmentFile=/etc/LLORCH_API_TOKEN"]),
        ("UnsetEnvironment=LLORCH_API_TOKEN", ["UnsetEnvironment=LLORCH_API_TOKEN"]),
        ("ExecStart=/bin/x", ["ExecStart=/bin/x"]),
    ],
)
def test_a_line_loses_the_token_and_nothing_else(line: str, left: list[str]) -> None:
    assert without_settings(f"[Service]\n{line}\nRestart=always") == "\n".join(["[Service]", *left, "Restart=always"])


@pytest.mark.parametrize("line", [f"Environment={SECRET} \\\n  B=2", f"Environment=A=1 \\\n  {SECRET}"])
def test_a_line_that_goes_on_is_left_as_it_stands_and_still_names_the_token(line: str) -> None:
    """Where one setting ends and the next begins is systemd's to say: the operator takes it out by hand."""
    assert without_settings(line) == line
    assert names_token(without_settings(line))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (f"Environment={SECRET}", True),
        (f"  Environment=A=1 {SECRET}", True),
        ("PassEnvironment=LLORCH_API_TOKEN", True),
        (f"# Environment={SECRET}", False),
        (f"  ; {SECRET}", False),
        ("UnsetEnvironment=LLORCH_API_TOKEN", False),
        ("Environment=LLORCH_API_TOKEN_FILE=/x", False),
        ("", False),
    ],
)
def test_a_comment_and_a_line_that_unsets_it_do_not_name_it(line: str, names: bool) -> None:
    assert names_token(f"[Service]\n{line}\n") is names
