"""Finished runs as one self-contained HTML file: read a folder, write a page that opens anywhere, offline."""

from chartae.report.page import write

__all__ = ["write"]
