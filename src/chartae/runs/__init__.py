"""A finished training: its settings, model, densities and log, in memory and as a folder."""

from chartae.runs.ensembles import fit_many, train_many
from chartae.runs.fitting import as_dataset, cook, fit
from chartae.runs.folder import FILES, load, prepare, read_log
from chartae.runs.run import IN_MEMORY, Run, Settings, fingerprint, writes

__all__ = [
    "FILES",
    "IN_MEMORY",
    "Run",
    "Settings",
    "as_dataset",
    "cook",
    "fingerprint",
    "fit",
    "fit_many",
    "load",
    "prepare",
    "read_log",
    "train_many",
    "writes",
]
