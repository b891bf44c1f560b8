"""A full disk, bounded: a tmpfs where one may be mounted, else a bound on the files of the controller."""

import pytest

from tests.faults import grounds
from tests.faults.disks import NoMount
from tests.faults.figures import Figures

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def _full_disk() -> Figures:
    try:
        return grounds.full_disk(1, mounted=True)
    except NoMount:
        return grounds.full_disk(1, mounted=False)


def test_on_a_full_disk_decisions_stop_and_nothing_that_was_acknowledged_is_lost() -> None:
    figures = _full_disk()
    print(figures)
    assert figures.wrong == []
