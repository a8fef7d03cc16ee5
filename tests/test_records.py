"""Run records: read back or refused, and those in results/ are whole."""

import pytest

from alexnet_lib import InputError, records


def test_records_are_read_back_or_refused(tmp_path):
    record = {"experiment": "e", "arm": "a", "seed": 3, "metrics": {"x": 1.0}}
    path = records.write(record, records.results_path(record, tmp_path))
    assert path == tmp_path / "e" / "a-seed3.json" and records.read(path) == record
    assert records.read_experiment("e", tmp_path) == [record] and records.read_experiment("none", tmp_path) == []
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "other.json").write_text("{}")
    for name, words in (("bad", "is not a record"), ("other", "it has no arm"), ("absent", "no record at")):
        with pytest.raises(InputError, match=words):
            records.read(tmp_path / f"{name}.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the record"):
        records.write(record, tmp_path / "file" / "x.json")


def test_every_committed_record_is_whole():
    for path in records.RESULTS.rglob("*.json"):
        record = records.read(path)
        assert records.results_path(record) == path
        assert record["environment"]["commit"] != "unknown" and record["environment"]["processor"]
