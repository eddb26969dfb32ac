"""The stand-in loads a token as the services' own loader does (llama-orch.md), and runs on every release's Python."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivekeys.lab import standin

TOKEN = "ab" * 32


def secret(folder: Path, text: str, mode: int = 0o600) -> str:
    path = folder / "api-token"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_white_space_around_a_token_is_trimmed(tmp_path: Path) -> None:
    assert standin.load_secret(secret(tmp_path, f" {TOKEN}\r\n")) == TOKEN


def test_links_are_resolved_first(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(secret(tmp_path, TOKEN))
    assert standin.load_secret(str(tmp_path / "link")) == TOKEN


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ValueError, match="too open"):
        standin.load_secret(secret(tmp_path, TOKEN, mode))


@pytest.mark.parametrize("text", ["", " \n", "x" * ((1 << 20) + 1)])
def test_an_empty_and_a_huge_file_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|large"):
        standin.load_secret(secret(tmp_path, text))


def test_the_log_has_the_fingerprint_and_never_the_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = secret(tmp_path, TOKEN)
    standin.load_secret(path)
    told = capsys.readouterr().out
    assert f'Secret loaded from file path="{path}" identity={standin.identity(TOKEN)}' in told
    assert TOKEN not in told


def test_no_token_at_all_is_dev_mode() -> None:
    ask = "from hivekeys.lab import standin; print(repr(standin.load_token()))"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LLORCH_")}
    done = subprocess.run([sys.executable, "-c", ask], env=clean, capture_output=True, text=True, check=True)
    assert "LLORCH_API_TOKEN not set - using dev mode (no auth)" in done.stdout
    assert done.stdout.endswith("''\n")


def test_what_runs_on_hosts_runs_on_python_3_9() -> None:
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--target=3.9-", "--no-tips", "--eval-annotations", standin.__file__],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
