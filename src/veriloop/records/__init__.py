"""Records: the rows of records.jsonl, read, selected, averaged over seeds, compared in pairs."""

from veriloop.records.curve import Curve, interval
from veriloop.records.lines import FAILED, FILE, Row, line
from veriloop.records.table import Records

__all__ = ["FAILED", "FILE", "Curve", "Records", "Row", "interval", "line"]
