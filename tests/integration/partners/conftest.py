"""The partner service, those who answer it, and those who work with it."""

from tests.support.advisers import advisers
from tests.support.bureau import bureau
from tests.support.france_travail import simulator
from tests.support.partners import desk, hub, sink

__all__ = ["advisers", "bureau", "desk", "hub", "simulator", "sink"]
