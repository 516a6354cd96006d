"""Fixtures shared by all tests: one PostgreSQL per session, one pair of databases per test."""

pytest_plugins = [
    "tests.support.postgres",
    "tests.support.kafka",
    "tests.support.platform",
    "tests.support.sources",
    "tests.support.partners",
    "tests.support.advisers",
    "tests.support.intake",
    "tests.support.hall",
    "tests.support.france_travail",
]
