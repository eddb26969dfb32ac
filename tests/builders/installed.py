"""hivekeys as its wheel brings it: built, installed into a folder of its own, and typed where no checkout is."""

import subprocess
import sys
from pathlib import Path

from tests.builders.project import PROJECT


def wheel(folder: Path) -> Path:
    """The wheel of the project as it is now."""
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=PROJECT, check=True, capture_output=True, timeout=120)
    (found,) = folder.glob("hivekeys-*.whl")
    return found


def install(built: Path, folder: Path) -> Path:
    """Installs a wheel into a folder, its libraries being this environment's; the path of the command `hivekeys`."""
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", str(folder), str(built)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True, capture_output=True, timeout=120)
    return folder / "bin" / "hivekeys"
