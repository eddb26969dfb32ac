"""A run as people and programs read it: text, tables, JSON, pages. Only fp6 is ever shown. Pure."""

from hivekeys.report.cuts import cut_lines
from hivekeys.report.documents import document, history_document, looked_document
from hivekeys.report.drains import drain_lines
from hivekeys.report.meter import meter_lines
from hivekeys.report.onward import next_of, next_step
from hivekeys.report.places import place_lines, unchecked_lines
from hivekeys.report.tables import Sheet, history_table, legend, plan_table, result_table, states_table
from hivekeys.report.uses import census_lines, use_lines
from hivekeys.report.words import (
    age,
    disagreement,
    exposure_lines,
    failure_lines,
    past_summary,
    settled_age,
    standing,
    summary,
    summary_lines,
    wave_lines,
)

__all__ = [
    "Sheet",
    "age",
    "census_lines",
    "cut_lines",
    "disagreement",
    "document",
    "drain_lines",
    "exposure_lines",
    "failure_lines",
    "history_document",
    "history_table",
    "legend",
    "looked_document",
    "meter_lines",
    "next_of",
    "next_step",
    "past_summary",
    "place_lines",
    "plan_table",
    "result_table",
    "settled_age",
    "standing",
    "states_table",
    "summary",
    "summary_lines",
    "unchecked_lines",
    "use_lines",
    "wave_lines",
]
