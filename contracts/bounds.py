"""How long the texts and lists of our own events may be: every field of an event has a bound.

Doors are narrower or as narrow; the writer holds the sum (``contracts.sizes``).
"""

from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

MAX_BYTES: Final = "x-maxBytes"
"""In a schema: the bytes of a value's JSON, where the schema leaves the value open."""
ROW_BYTES = 128 * 1024
"""Of a row of a directory (64 KiB as it came) in the one spelling that is stored."""
RULES_BYTES = 256 * 1024
DISCLOSED_BYTES = 80 * 1024
"""Of what a partner may learn of a person: every disclosable field at its longest."""
MOST_SERVICES = 33
"""Services that one proposal describes."""

Id = Annotated[str, StringConstraints(max_length=150)]
"""Of a partner or a service, as their source names them."""
Name = Annotated[str, StringConstraints(max_length=150)]
Actor = Annotated[str, StringConstraints(max_length=250)]
"""Who did it: a role and the name of a key, or a partner's id."""
Word = Annotated[str, StringConstraints(max_length=120)]
"""A code of ours, or one that a door has checked."""
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,100}$")]
"""The name of a row, a condition, a value of data·inclusion: nothing that JSON escapes."""
RowName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
"""Of a condition, or of the row of a table that answers it."""
Short = Annotated[str, StringConstraints(pattern=r"^[a-z-]{1,20}$")]
"""A verdict, a result, a part of a score."""
Remark = Annotated[str, StringConstraints(max_length=4000)]
"""Free text that somebody wrote: always sealed."""
Sentence = Annotated[str, StringConstraints(max_length=1024)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z]{1,64}$")]
FieldNames = Annotated[list[Word], Field(max_length=60)]
RowPart = Annotated[list[str], Field(json_schema_extra={MAX_BYTES: ROW_BYTES})]
RowText = Annotated[str, Field(json_schema_extra={MAX_BYTES: ROW_BYTES})]
Row = Annotated[dict[str, Any], Field(json_schema_extra={MAX_BYTES: ROW_BYTES})]
RuleGraph = Annotated[dict[str, Any], Field(json_schema_extra={MAX_BYTES: RULES_BYTES})]
Disclosable = Annotated[dict[str, Any], Field(json_schema_extra={MAX_BYTES: DISCLOSED_BYTES})]
FactValue = Annotated[Any, Field(json_schema_extra={MAX_BYTES: 500})]
"""Of a fact that rules look at: a code, a day, a number, a list of such; never free text."""
