"""The published schema: what the files really are, and what a reader elsewhere may rely on."""

import json
from pathlib import Path

import jsonschema
import pytest

from gate.errors import SchemaVersionError
from gate.records.codec import from_json, schema, to_json
from gate.records.diagnosis import Examination
from tests.support import examples

PUBLISHED = Path(__file__).parents[2] / "docs" / "schema" / "run-2.json"


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


@pytest.fixture
def table():
    """A run's JSON, for a test to spoil."""
    return json.loads(to_json(examples.run()))


def test_the_published_schema_is_that_of_the_code():
    assert json.loads(PUBLISHED.read_text()) == schema(), "run `make schema`"


@pytest.mark.parametrize("make", [examples.run, examples.measurement, examples.sdpa_measurement])
def test_what_is_written_validates(make, validator):
    validator.validate(json.loads(to_json(make())))


def spoil_the_kind(table):
    table["kind"] = "verdict"


def spoil_the_version(table):
    table["schema_version"] = 1


def spoil_a_status(table):
    table["measurement"]["build"]["status"] = "fine"


def spoil_an_outcome(table):
    table["verdict"]["outcome"] = "maybe"


def spoil_a_time(table):
    table["measurement"]["evaluations"][0]["trial"]["replicates"][0]["times_ms"][0][0] = "fast"


def drop_the_samples(table):
    del table["measurement"]["evaluations"][0]["trial"]["replicates"][0]["times_ms"]


def drop_the_environment(table):
    del table["measurement"]["environment"]


def add_a_field(table):
    table["verdict"]["mood"] = "good"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_the_kind, spoil_the_version, spoil_a_status, spoil_an_outcome, spoil_a_time, drop_the_samples,
        drop_the_environment, add_a_field,
    ],
)  # fmt: skip
def test_what_is_spoiled_does_not_validate(spoil, table, validator):
    spoil(table)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(table)


def test_another_file_of_an_earlier_version_is_refused_by_its_version():
    with pytest.raises(SchemaVersionError, match=r"old\.json has schema_version 1; use the version"):
        from_json(Examination, '{"device": "cpu", "findings": [], "schema_version": 1}', "old.json")
