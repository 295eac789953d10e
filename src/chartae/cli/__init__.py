"""The command line: a verb a command, each a few lines over the library."""

from chartae.cli.main import main

__all__ = ["main"]
