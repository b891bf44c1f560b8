"""The databases of tests/store, for tests of what was released before."""

from tests.store.conftest import empty, migrated, place, postgres, pytest_generate_tests, store, url

__all__ = ["empty", "migrated", "place", "postgres", "pytest_generate_tests", "store", "url"]
