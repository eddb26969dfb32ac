"""What `ansible-inventory` says of an inventory that it can't read, without the values that stand there.

Pure. Its words repeat lines of the file, and in one of them may be a password. So what it quotes is left out, and
of plugins that are not known here nothing is told but that they failed.
"""

import re

from hivekeys.text.clean import one_line

_FAILED = re.compile(
    r"Failed to parse \S+ with '?(?P<plugin>[\w.]+)'? plugin: (?P<words>.*?)"
    r"(?= Failed to parse | \[(?:WARNING|ERROR)\]| <<< caused by|\Z)"
)
_ERROR = re.compile(r"(?:\[ERROR\]:|ERROR!) (?P<words>.*?)(?= \[(?:WARNING|ERROR)\]|\Z)")
_OF_A_FILE_BESIDE = ("YAML parsing failed", "Attempting to decrypt", "Decryption failed", "Could not process")
_LEFT_OUT = re.compile(
    r"\[WARNING\]: (?P<words>"
    r"(?:Skipping|Found \S+ that is not a directory|Unable to parse|No inventory|Failed to load) .*?)"
    r"(?= \[(?:WARNING|ERROR|DEPRECATION)|\Z)"
)
_SOURCE = re.compile(r"Completely failed to parse inventory source (?P<file>.+?)(?= \[(?:WARNING|ERROR)\]|\Z)")
_LINE = re.compile(r"Origin: (?!<)\S+?:(?P<line>[0-9]{1,7}):[0-9]")
_READERS = {"ini": "INI", "yaml": "YAML", "script": "a program"}
_SAID_BY_ALL = ("no root", "Plugin configuration YAML")  # that a file is no other plugin's settings is no news
_QUOTED = re.compile(r",?(?: but)? (?:got\b|found (?=[\"'<])).*")


def words_of(complained: str) -> str:
    """Why an inventory can't be read, as a part of a sentence; "" if that can't be told without its values."""
    text = " ".join(complained.split())
    said: dict[str, str] = {}
    for found in _FAILED.finditer(text):
        plugin, words = found["plugin"], found["words"].removeprefix("Failed to parse inventory: ")
        if words.startswith(_SAID_BY_ALL):
            continue
        if plugin in _READERS:
            said[f"as {_READERS[plugin]}: {_without_values(words)}"] = ""
        elif not words.startswith("YAML parsing failed"):  # yaml says the same
            said["the plugin that it names is not installed, or failed"] = ""
    if said:
        return "; ".join(said)
    error = _ERROR.search(text)
    return _without_values(error["words"]) if error and error["words"].startswith(_OF_A_FILE_BESIDE) else ""


def left_out(complained: str) -> str:
    """What was passed over though the inventory was read; "" if nothing was."""
    found = _LEFT_OUT.search(" ".join(complained.split()))
    return _without_values(found["words"]) if found else ""


def source_of(complained: str) -> tuple[str, int]:
    """The file that could not be read, and the line; "" and 0 where that is not said."""
    text = " ".join(complained.split())
    source, line = _SOURCE.search(text), _LINE.search(text)
    return source["file"] if source else "", int(line["line"]) if line else 0


def is_of_a_vault(complained: str) -> bool:
    """True if something encrypted could not be read."""
    return bool(re.search(r"[Dd]ecrypt", complained))


def _without_values(words: str) -> str:
    """Whatever is quoted, or comes behind "got", is the file's."""
    return one_line(re.sub(r"[\"'`].*[\"'`]", "…", _QUOTED.sub("", words))).rstrip(". ")
