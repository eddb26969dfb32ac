"""A journal holds the largest fleet that an inventory may have."""

from pathlib import Path

from hivekeys.fleet import MOST_HOSTS
from hivekeys.journal.clock import Moment
from hivekeys.journal.events import Phase, RunStarted
from hivekeys.journal.store import Journal


def test_a_run_over_the_largest_fleet_is_read_back(tmp_path: Path) -> None:
    names = tuple(f"hive{number}" for number in range(MOST_HOSTS))
    began = RunStarted("large-1", "large", "ann@bastion", "", names, ((Phase.WAVE, names),), (), Moment(1.0, 1.0))
    journal = Journal(tmp_path, writes=True)
    journal.append("large-1", began)
    assert journal.events("large-1") == [began]
    journal.close()
