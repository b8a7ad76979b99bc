"""All records as one tidy table, a line each: `cells.csv` for everybody, `cells.parquet` with types and meanings."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import NoneType
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import compute, csv, parquet

from harness.columns import COLUMNS, Kind
from harness.records import Record, write_whole
from harness.run_facts import RunFacts

BATCH = 1000
"""How many lines are held as Python's values before they are packed."""
GETTERS = [column.of for column in COLUMNS]
PYTHON_TYPES: Mapping[Kind, frozenset[type]] = {
    "text": frozenset({str, NoneType}),
    "number": frozenset({float, int, NoneType}),
    "whole": frozenset({int, NoneType}),
    "yes/no": frozenset({bool, NoneType}),
}
"""What a value of a column is in a record; a moment is a text there."""
PANDAS_TYPES: Mapping[Kind, str] = {
    "text": "str",
    "number": "float64",
    "whole": "Int64",
    "yes/no": "boolean",
    "moment": "datetime64[us, UTC]",
}
"""As what pandas reads a column of `cells.parquet`."""
FORMULA = "^([=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20])"
"""How a text begins that a spreadsheet may run as a formula, https://owasp.org/www-community/attacks/CSV_Injection."""


class CellExport:
    """Collects a line of each record, packed, and writes the table of all."""

    def __init__(self) -> None:
        self._schema = _schema()
        self._lines: list[list[Any]] = []
        self._batches: list[pa.RecordBatch] = []

    def collect(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield records as they come, each once its line is collected."""
        for record in records:
            self.add(record)
            yield record

    def add(self, record: Record) -> None:
        """Collect the line of a record."""
        facts = RunFacts(record.content)
        self._lines.append([get(facts) for get in GETTERS])
        if len(self._lines) == BATCH:
            self._pack()

    def write(self, folder: Path) -> list[Path]:
        """Write both files, each whole or not at all, and return their paths; the oldest record comes first.

        Raises UserError if the folder takes no file.
        """
        self._pack()
        table = pa.Table.from_batches(self._batches, self._schema).sort_by(
            [("finished_at", "ascending"), ("key", "ascending")]
        )
        contents = {"cells.csv": to_csv(table), "cells.parquet": to_parquet(table)}
        for name, content in contents.items():
            write_whole(folder / name, content)
        return [folder / name for name in contents]

    def _pack(self) -> None:
        if self._lines:
            columns = zip(COLUMNS, zip(*self._lines, strict=True), self._schema.types, strict=True)
            arrays = [pa.array(of_kind(column.kind, values), packed) for column, values, packed in columns]
            self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
            self._lines.clear()


def of_kind(kind: Kind, values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column with None for those of another kind, and moments as such."""
    if kind == "moment":
        return [datetime.fromisoformat(value) for value in values]
    types, found = PYTHON_TYPES[kind], set(map(type, values))
    fitting = values if types >= found else [value if type(value) in types else None for value in values]
    if kind == "number" and int in found:
        return [None if value is None else float(value) for value in fitting]
    if kind == "whole":
        return [None if value is None or abs(value) >= 2**63 else value for value in fitting]
    return fitting


def _schema() -> pa.Schema:
    """Return the types of all columns, with what pandas needs to read them as PANDAS_TYPES and their meanings."""
    frame = pd.DataFrame({column.name: pd.Series(dtype=PANDAS_TYPES[column.kind]) for column in COLUMNS})
    schema = pa.Schema.from_pandas(frame, preserve_index=False)
    meanings = json.dumps({"meanings": {column.name: column.meaning for column in COLUMNS}})
    return schema.with_metadata({**schema.metadata, "PANDAS_ATTRS": meanings})


def to_csv(table: pa.Table) -> bytes:
    """Return a table as CSV: UTF-8, texts in quotes, what is not known empty.

    A text that begins as FORMULA says has an apostrophe put before it.
    """
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            harmless = compute.replace_substring_regex(table.column(place), FORMULA, "'\\1")
            table = table.set_column(place, field, harmless)
    sink = pa.BufferOutputStream()
    csv.write_csv(table, sink)
    return bytes(sink.getvalue())


def to_parquet(table: pa.Table) -> bytes:
    """Return a table as Parquet; pandas has the meanings of its columns in `attrs`."""
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())
