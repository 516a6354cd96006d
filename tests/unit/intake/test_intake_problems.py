"""What is not taken has one name, by HTTP and from Kafka."""

import pytest

from infra.base.field_errors import FieldError
from services.intake.handlers.errors import NotTakenError, Reason
from services.intake.routes.problems import problem_of


@pytest.mark.parametrize("reason", Reason)
def test_a_reason_is_kept_by_the_name_that_http_answers_with(reason: Reason):
    assert problem_of(NotTakenError(reason)).slug == reason


def test_a_field_without_a_text_of_its_own_has_the_title():
    error = NotTakenError(Reason.UNKNOWN_TYPE, "", [FieldError("type"), FieldError("a", "b")])
    problem = problem_of(error)
    assert problem.errors == [
        {"field": "type", "detail": problem.title},
        {"field": "a", "detail": "b"},
    ]
    assert problem.detail is None
