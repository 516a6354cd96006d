"""Channels are told apart in their modules and nowhere else."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from contracts.values import Channel
from services.partners.channels import registry
from services.partners.channels.registry import CHANNELS, published_name, published_where

SERVICE = Path(registry.__file__).parents[1]
LITERAL = re.compile(r"channel\s*(?:=|<>|IN)\s*\(?'")


def test_every_channel_of_the_contract_is_a_plug_in_and_no_two_share_a_name():
    assert {str(channel.published) for channel in CHANNELS} == set(Channel)
    names = Counter(
        name for channel in CHANNELS for name in {channel.name, str(channel.published)}
    )
    assert [name for name, times in names.items() if times > 1] == []


def test_france_travail_is_stored_as_it_was_published():
    assert published_name("france-travail") == published_name("rest") == "rest"


@pytest.mark.parametrize("name", ["manual", "fax", "", "REST"])
def test_what_takes_no_address_is_refused(name: str):
    with pytest.raises(ValueError, match="give one of webhook, email, sftp, rest"):
        published_name(name)


def test_capabilities_are_named_for_humans():
    assert published_where("batches") == "sftp"
    assert published_where("carries", "application") == "rest"
    assert published_where("carries", "settings") == ""


def test_no_statement_names_a_channel():
    named = [p.name for p in (SERVICE / "tables").glob("*.py") if LITERAL.search(p.read_text())]
    assert named == []


def test_nothing_but_its_module_asks_which_channel_an_address_has():
    """A comparison with a member of ``Channel`` is a branch that the next channel needs too."""
    asking = [
        f"{path.relative_to(SERVICE)}:{node.lineno}"
        for path in SERVICE.rglob("*.py")
        if "channels" not in path.parts and "migrations" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and "Channel." in ast.unparse(node)
    ]
    assert asking == []
