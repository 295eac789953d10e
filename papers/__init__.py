"""Reproductions of published results: one file for each result, with the paper's numbers next to ours.

    chartae reproduce NAME --out FOLDER     # or: python -m papers NAME --out FOLDER

A reproduction consists of parts that are kept as files, so an interrupted one continues where it stopped. These are
scripts that use chartae's public API. They belong to the source checkout and are not installed with the package.
"""

from papers.table import Record, Request, record, records, reproduce, reproduction

__all__ = ["Record", "Request", "record", "records", "reproduce", "reproduction"]
