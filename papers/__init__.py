"""Published results, reproduced: one file a result, its parts resumable, the paper's numbers beside ours.

    chartae reproduce NAME --out FOLDER     # or: python -m papers NAME --out FOLDER

These are scripts over chartae's public API. They belong to the source checkout and are not installed with the package.
"""

from papers.table import Record, Request, record, records, reproduce, reproduction

__all__ = ["Record", "Request", "record", "records", "reproduce", "reproduction"]
