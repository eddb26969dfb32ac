"""Host names written short: what an operator types after --limit is what is meant, or it is refused."""

from dataclasses import replace
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivekeys.errors import ExitCode, UserError
from hivekeys.fleet import HIVE_SERVICE, QUEEN_SERVICE, Fleet, Host, Role
from hivekeys.inventory import select
from hivekeys.inventory.ranges import LARGEST_RANGE, expand

HIVES = ("hive1", "hive2", "hive3", "hive12")
FLEET = Fleet(
    "production",
    (
        Host("queen", Role.QUEEN, "10.0.0.10", service=QUEEN_SERVICE),
        *(Host(name, Role.HIVE, name, service=HIVE_SERVICE) for name in HIVES),
    ),
)
RACKS = {"hive1": ("rack1",), "hive2": ("rack1", "gpu"), "hive3": ("rack2", "gpu"), "hive12": ("rack2",)}
RACKED = replace(FLEET, hosts=tuple(replace(host, groups=RACKS.get(host.name, ())) for host in FLEET.hosts))


def chosen(limit: str = "", exclude: str = "") -> list[str]:
    return [host.name for host in select(FLEET, limit, exclude)]


def refusal(limit: str = "", exclude: str = "") -> UserError:
    with pytest.raises(UserError) as caught:
        select(FLEET, limit, exclude)
    assert caught.value.code is ExitCode.USAGE
    return caught.value


def test_a_range_keeps_the_zeros_in_front() -> None:
    assert expand("hive[08:11]") == ("hive08", "hive09", "hive10", "hive11")


def test_a_range_without_zeros_grows_a_digit() -> None:
    assert expand("hive[9:10].lan") == ("hive9.lan", "hive10.lan")


@pytest.mark.parametrize(
    "text", ["hive[1:3", "hive1:3]", "hive[]", "hive[a:c]", "hive[1-3]", "[1:2][3:4]", "hive[-1:2]", "hive[١:٣]"]
)
def test_a_range_that_is_written_wrongly_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most one range"):
        expand(text)


def test_a_range_that_counts_down_is_refused() -> None:
    with pytest.raises(ValueError, match="counts up"):
        expand("hive[3:1]")


def test_a_range_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{LARGEST_RANGE} at most"):
        expand("hive[0:999999999]")


def test_ends_of_different_length_are_refused_when_padded() -> None:
    with pytest.raises(ValueError, match="equally long"):
        expand("hive[01:100]")


@given(first=st.integers(0, 2000), more=st.integers(0, 300), width=st.integers(1, 6))
def test_a_range_names_every_number_between_its_ends_once(first: int, more: int, width: int) -> None:
    last = first + more
    width = max(width, len(str(last)))
    names = expand(f"h[{first:0{width}d}:{last:0{width}d}]")
    assert [int(name[1:]) for name in names] == list(range(first, last + 1))


@given(st.text(alphabet="h[]:019a-"))
def test_any_text_is_a_list_of_names_or_refused(text: str) -> None:
    try:
        names = expand(text)
    except ValueError:
        return
    assert names and all("[" not in name and "]" not in name for name in names)


def test_without_limit_the_whole_fleet_is_meant() -> None:
    assert chosen() == ["queen", *HIVES]


def test_names_ranges_and_globs_go_together_in_the_order_of_the_fleet() -> None:
    assert chosen("hive[2:3], hive1?,queen") == ["queen", "hive2", "hive3", "hive12"]


def test_brackets_without_a_colon_are_a_glob() -> None:
    assert chosen("hive[12]") == ["hive1", "hive2"]


def test_exclude_takes_away_from_limit() -> None:
    assert chosen("hive*", "hive[1:2]") == ["hive3", "hive12"]


def test_a_typo_is_refused_with_the_names_that_are_near() -> None:
    assert "'hvie12' matches no host; did you mean hive12" in refusal("hvie12").message


def test_a_typo_beside_a_good_name_is_refused_all_the_same() -> None:
    assert "'hive7' matches no host" in refusal("queen,hive7").message


def test_a_range_that_reaches_past_the_fleet_is_refused() -> None:
    assert "'hive4' matches no host" in refusal("hive[1:4]").message


def test_a_typo_in_exclude_is_refused_because_it_would_spare_nobody() -> None:
    assert "--exclude: 'hvie1' matches no host" in refusal(exclude="hvie1").message


def test_every_bad_pattern_is_named_at_once() -> None:
    assert len(refusal("nobody,hive[2:1]", "none").message.splitlines()) == 3


@pytest.mark.parametrize("limit", [",", " ", "hive1,", "hive1,,hive2"])
def test_an_empty_name_is_refused_and_never_means_everybody(limit: str) -> None:
    assert "matches no host" in refusal(limit).message


@pytest.mark.parametrize(
    ("limit", "hosts"),
    [
        ("rack1", ["hive1", "hive2"]),
        ("gpu,queen", ["queen", "hive2", "hive3"]),
        ("rack[1:2]", list(HIVES)),
        ("rack*", list(HIVES)),
    ],
)
def test_a_group_means_all_of_its_hosts(limit: str, hosts: list[str]) -> None:
    assert [host.name for host in select(RACKED, limit)] == hosts


def test_a_group_in_exclude_takes_its_hosts_away() -> None:
    assert [host.name for host in select(RACKED, exclude="gpu")] == ["queen", "hive1", "hive12"]


def test_a_glob_that_matches_hosts_means_no_group() -> None:
    fleet = replace(RACKED, hosts=(*RACKED.hosts, replace(RACKED.hosts[-1], name="g1", groups=())))
    assert [host.name for host in select(fleet, "g*")] == ["g1"]


def test_a_typo_in_a_groups_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError) as caught:
        select(RACKED, "rcak1")
    assert caught.value.message == "--limit: 'rcak1' matches no host and no group; did you mean rack1 or rack2?"
    assert caught.value.hint.endswith("and the groups rack1, gpu, rack2")


def test_nobody_left_is_refused() -> None:
    assert "no host of fleet production is left" in refusal("hive1", "hive*").message


def test_the_hint_says_who_there_is() -> None:
    assert "queen, hive1, hive2" in refusal("nobody").hint


def test_control_characters_in_a_pattern_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in refusal("\x1b[2J").message


@given(st.text(alphabet="hive12*?[]:,! ", max_size=12).filter(bool))
def test_whoever_is_chosen_was_named(limit: str) -> None:
    try:
        names = chosen(limit)
    except UserError:
        return
    patterns = [piece.strip() for piece in limit.split(",")]
    wanted = [name for each in patterns for name in (expand(each) if ":" in each else (each,))]
    assert all(any(fnmatchcase(name, pattern) for pattern in wanted) for name in names)
