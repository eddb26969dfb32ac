"""Which file a fleet is, and files that are none: no guess about the fleet, no traceback whatever they hold."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hivekeys.errors import ExitCode, UserError
from hivekeys.inventory import called, find, load, places
from hivekeys.inventory.files import LARGEST_FILE, tables


@pytest.fixture
def fleets(tmp_path: Path) -> Path:
    for name in ("example", "lab", "production"):
        (tmp_path / f"{name}.toml").touch()
    return tmp_path


def not_found(*arguments: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        find(*arguments)
    assert caught.value.code is ExitCode.USAGE
    return caught.value


def test_the_named_fleet_goes_before_the_one_of_the_environment(fleets: Path) -> None:
    assert find("lab", [fleets], {"HIVEKEYS_FLEET": "production"}) == fleets / "lab.toml"
    assert find(None, [fleets], {"HIVEKEYS_FLEET": "production"}) == fleets / "production.toml"


def test_the_only_fleet_besides_the_example_is_meant_when_none_is_named(fleets: Path) -> None:
    (fleets / "lab.toml").unlink()
    assert find(None, [fleets], {}) == fleets / "production.toml"


def test_of_several_fleets_none_is_guessed(fleets: Path) -> None:
    assert "example, lab, production" in not_found(None, [fleets], {}).hint


def test_the_example_is_never_meant_by_default(fleets: Path) -> None:
    for name in ("lab", "production"):
        (fleets / f"{name}.toml").unlink()
    assert not_found(None, [fleets], {}).message == "there is no fleet yet"


def test_a_folder_that_is_not_there_has_no_fleets(tmp_path: Path) -> None:
    assert "none" in not_found("lab", [tmp_path / "nowhere"], {}).hint


@pytest.mark.parametrize("name", ["prodution", "production.toml", "hosts.ini", ".", "..", "a\x00b"])
def test_a_name_that_is_no_fleet_is_refused_with_those_there_are(fleets: Path, name: str) -> None:
    error = not_found(name, [fleets], {})
    assert "there is no such fleet" in error.message and "lab, production" in error.hint


def test_a_name_with_a_slash_is_the_path_of_a_file(fleets: Path) -> None:
    path = str(fleets / "lab.toml")
    assert find(path, [fleets / "elsewhere"], {}) == find(None, [fleets], {"HIVEKEYS_FLEET": path}) == Path(path)


@pytest.mark.parametrize("path", ["../production", "/nowhere/hosts.ini", "./a\x00b"])
def test_a_path_that_leads_nowhere_is_refused(fleets: Path, path: str) -> None:
    assert "there is no such file" in not_found(path, [fleets], {}).message


def test_a_wrong_name_in_the_environment_is_blamed_on_the_environment(fleets: Path) -> None:
    assert not_found(None, [fleets], {"HIVEKEYS_FLEET": "prod"}).message.startswith("HIVEKEYS_FLEET=prod")


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, ...]:
    """Every folder that inventories are looked for in, but the machine's own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for folder in ("project/inventory", "named", "home/hivekeys"):
        (tmp_path / folder).mkdir(parents=True)
    return places(tmp_path / "project", {"HIVEKEYS_INVENTORY": str(tmp_path / "named")})


def test_inventories_are_looked_for_in_four_folders_in_this_order(folders: tuple[Path, ...], tmp_path: Path) -> None:
    own = [tmp_path / folder for folder in ("project/inventory", "named", "home/hivekeys")]
    assert folders == (*own, Path("/etc/hivekeys"))
    for folder in reversed(own):
        (folder / "f.toml").touch()
        assert find("f", folders, {}) == find(None, folders, {}) == folder / "f.toml"
        assert called(folder / "f.toml", folders) == "f"
    assert called(own[-1] / "f.toml", folders) == "", "an earlier one hides it: it is typed by its path"


def test_without_the_variable_there_are_three(tmp_path: Path) -> None:
    assert len(places(tmp_path, {})) == 3


def test_whoever_finds_no_fleet_says_where_it_looked(folders: tuple[Path, ...]) -> None:
    (folders[2] / "lab.toml").touch()
    for error in (not_found("prod", folders, {}), not_found(None, folders[:2], {})):
        assert f"in {folders[0]}: none; in {folders[1]}: none" in error.hint
    assert f"in {folders[2]}: lab; in {folders[3]}: " in not_found("prod", folders, {}).hint


def test_fleets_in_two_folders_are_two_fleets(folders: tuple[Path, ...]) -> None:
    for folder, name in zip(folders, ("lab", "production"), strict=False):
        (folder / f"{name}.toml").touch()
    assert not_found(None, folders, {}).message == "which fleet?"


def test_a_variable_that_names_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"HIVEKEYS_INVENTORY={tmp_path}/nowhere: there is no such folder"):
        places(tmp_path, {"HIVEKEYS_INVENTORY": str(tmp_path / "nowhere")})


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_file_that_others_can_change_is_refused_in_each_of_them_and_not_passed_by(
    folders: tuple[Path, ...], place: int
) -> None:
    for folder in folders[place:3]:
        (folder / "f.toml").touch()
    folders[place].chmod(0o777)
    with pytest.raises(UserError, match="others can change it: every account can write to"):
        load(find("f", folders, {}))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "f.toml"


def refused(file: Path, content: bytes | None = None) -> str:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load(file)
    assert caught.value.code is ExitCode.USAGE
    return caught.value.message.removeprefix(f"{file}: ")


def test_a_syntax_error_is_told_with_line_and_column(file: Path) -> None:
    mistake = refused(file, b'fleet = "f"\nhosts = {{\n')
    assert "line 2, column" in mistake


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x = " + b"[" * 100_000, b"x = " + b"9" * 5_000, b"\x00"])
def test_a_file_that_is_not_toml_is_refused_in_one_line(file: Path, content: bytes) -> None:
    assert len(refused(file, content).splitlines()) == 1


DEEP = ".".join(["a"] * 30_000)
MANY_DOTS = ".".join(["10"] * 100)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{DEEP} = 1", 1),
        (f"[{DEEP}]", 1),
        (f"x = 1\n[[{DEEP}]]", 2),
        (f"x = {{ {DEEP} = 1 }}", 1),
        (" . ".join(["a", '"b.c"', "'d'", '""'] * 5) + " = 1", 1),
        (f'x = """\nan \\""" end"""""\n{DEEP} = 1', 3),
        (f"x = '''\nno \\'''\n{DEEP} = 1", 3),
        (f"x = '\\'\n# it's \"\"\"\n{DEEP} = 1", 3),
    ],
)
def test_a_key_of_many_parts_is_refused_before_it_is_read(file: Path, text: str, line: int) -> None:
    """tomllib takes 7 s for one of 30,000 parts, 60 KB, and minutes for what a whole file may have of them."""
    said = f"line {line}: found a key of more than 16 parts, expected TOML as in example.toml"
    assert refused(file, text.encode()) == said


def test_a_hives_conf_of_such_keys_is_refused_as_well(tmp_path: Path) -> None:
    (tmp_path / "hives.conf").write_text(f"[[hive]]\n{DEEP} = 1\n")
    (tmp_path / "f.toml").write_text('fleet = "f"\nllama_orch = { hives = "hives.conf" }\n')
    assert "hives.conf: line 2: found a key of more than 16 parts" in refused(tmp_path / "f.toml")


@pytest.mark.parametrize(
    "text",
    [
        f'x = "{MANY_DOTS}"',
        f"x = '{MANY_DOTS}'",
        f'x = """\n{MANY_DOTS}"""',
        f"x = 1 # {MANY_DOTS}",
        f'# it\'s\nx = "a \\" {MANY_DOTS}"',
        "x = [" + "1.5, " * 100 + "]",
    ],
)
def test_dots_that_are_not_in_keys_are_as_many_as_one_likes(text: str) -> None:
    assert tables(text) == tomllib.loads(text)


def test_what_looks_at_keys_takes_no_longer_for_a_file_that_was_made_to(file: Path) -> None:
    """Each would keep a pattern busy for hours that tries every beginning, or every way to match."""
    for piece in ("a", "a ", "a. ", '"', "'", '"""\\', "a" * 1000 + ".", " . ", "\\"):
        refused(file, (piece * (LARGEST_FILE // 8 // len(piece))).encode())


def test_a_file_that_is_too_large_is_refused(file: Path) -> None:
    assert refused(file, b"#" * (LARGEST_FILE + 1)) == "found more than 4 MiB, expected less"


def test_a_folder_is_refused(file: Path) -> None:
    file.mkdir()
    assert refused(file) == "found something else, expected a file"


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    assert refused(file) == "can't be read: No such file or directory"


KEYS = ["fleet", "ssh", "hosts", "services", "queen", "hive", "role", "port", "address", "token", "h[1:2]", "x"]
SCALARS = st.sampled_from(['"queen"', '"hive"', "22", "nan", "true", '"-a"', '"[1:2]"', "[]", "[1]", "1979-05-27"])
INLINE = st.recursive(
    SCALARS,
    lambda values: st.dictionaries(st.sampled_from(KEYS), values, max_size=4).map(
        lambda table: "{ " + ", ".join(f'"{key}" = {value}' for key, value in table.items()) + " }"
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the same file anew
@given(st.dictionaries(st.sampled_from(KEYS), INLINE, max_size=5))
@example({"fleet": '"f"', "hosts": '{ "queen" = { "role" = "queen", "address" = [] } }'})
@example({"hosts": '{ "queen" = { "role" = [1], "port" = [], "address" = "[1:2]" } }'})
def test_whatever_a_file_says_it_is_a_fleet_or_refused(file: Path, tables: dict[str, Any]) -> None:
    file.write_text("\n".join(f'"{key}" = {value}' for key, value in tables.items()))
    try:
        fleet = load(file)
    except UserError as error:
        assert error.message
    else:
        assert fleet.queen in fleet.hosts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes the same file anew
@given(st.binary(max_size=200))
def test_any_bytes_are_a_fleet_or_refused(file: Path, content: bytes) -> None:
    assert refused(file, content)


def test_a_file_whose_ranges_stand_for_millions_of_hosts_is_refused_at_once(file: Path) -> None:
    ranges = "".join(f'[hosts."h{number}-[1:9999]"]\nrole = "hive"\n' for number in range(20_000))
    assert refused(file, f'fleet = "f"\n{ranges}'.encode()) == "hosts: found more than 100000 hosts, expected less"
