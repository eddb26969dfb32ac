"""An image that is not finished: interrupted, killed, or left by an earlier hivekeys, it goes and takes nothing along.

A stand-in for mmdebstrap mounts what it does, a folder with something precious in it, and then builds for ever.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hivekeys.lab import cgroup, image
from tests.builders.project import PROJECT

from .asking import eventually

pytestmark = pytest.mark.lab
MMDEBSTRAP = """\
#!/bin/sh
eval "target=\\${$(($# - 1))}"
mkdir -p "$target/proc" "$target/dev/shm"
mount -t proc proc "$target/proc"
mount --bind "$PRECIOUS" "$target/dev/shm"
[ -z "$QUICK" ] || exit 0
sleep 4711 &
touch "$PRECIOUS/mounted"
wait
"""
BUILD = """\
import signal, sys
from pathlib import Path
from hivekeys.lab import image
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
image.build(sys.argv[1], Path(sys.argv[2]))
"""


@dataclass(frozen=True)
class Builder:
    """Builds of a release that only this test knows."""

    folder: Path

    @property
    def release(self) -> str:
        return f"test{os.getpid()}"

    @property
    def precious(self) -> Path:
        return self.folder / "precious"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def start(self, quick: str = "") -> subprocess.Popen[str]:
        environ = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "PRECIOUS": str(self.precious)}
        words = [sys.executable, "-c", BUILD, self.release, str(self.cache / f"{self.release}-1")]
        return subprocess.Popen(words, cwd=PROJECT, env={**os.environ, **environ, "QUICK": quick}, text=True)

    def left(self) -> list[str]:
        """What there is of unfinished builds: folders, mounts, processes."""
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.cache) in line]
        group = cgroup.of(image.builders(self.release))
        return [*(path.name for path in self.cache.glob("*.partial*")), *mounts, *([group.name] * group.exists())]

    def is_sound(self) -> bool:
        return (self.precious / "gold").read_text() == "gold"


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    made = Builder(tmp_path)
    program = tmp_path / "bin" / "mmdebstrap"
    for folder in (program.parent, made.precious, made.cache):
        folder.mkdir()
    program.write_text(MMDEBSTRAP)
    program.chmod(0o755)
    (made.precious / "gold").write_text("gold")
    yield made
    image.remove(made.cache)


def test_an_interrupted_build_leaves_nothing(builder: Builder) -> None:
    with builder.start() as child:
        assert eventually((builder.precious / "mounted").exists)
        child.send_signal(signal.SIGINT)
        child.wait(30)
    assert (child.returncode, builder.left()) == (-signal.SIGINT, [])
    assert builder.is_sound()


def test_what_a_killed_build_left_is_cleared_by_the_next(builder: Builder) -> None:
    with builder.start() as child:
        assert eventually((builder.precious / "mounted").exists)
        child.kill()
    assert any(name.endswith(str(child.pid)) for name in builder.left())
    with builder.start(quick="yes") as child:
        child.wait(30)
    assert (child.returncode, builder.left()) == (0, [])
    assert (builder.cache / f"{builder.release}-1").is_dir()
    assert builder.is_sound()


def test_mounts_that_an_earlier_hivekeys_left_in_a_partial_image_are_let_go_before_it_is_removed(
    builder: Builder,
) -> None:
    stale = builder.cache / f"{builder.release}-0.partial1"
    (builder.precious / "shm").mkdir()
    (stale / "dev").mkdir(parents=True)
    for point in ("dev", "dev/shm", "dev/shm/shm"):
        subprocess.run(["mount", "--bind", builder.precious, stale / point], check=True)
    with builder.start(quick="yes") as child:
        child.wait(30)
    assert (child.returncode, builder.left()) == (0, [])
    assert builder.is_sound()
