"""Train, save and load runs: trained models with their settings, densities and logs."""

from chartae.records.settings import IN_MEMORY, Settings
from chartae.runs.ensembles import Sweep, fit_many, train_many
from chartae.runs.estimate import Estimate, estimate
from chartae.runs.failures import postmortem
from chartae.runs.fitting import fit, fit_request, prepared
from chartae.runs.loading import load
from chartae.runs.request import Request
from chartae.runs.residuals import Residuals
from chartae.runs.resuming import resume
from chartae.runs.run import Run, fingerprint
from chartae.runs.strings import codec_of, decode_draws, properties, retrained
from chartae.runs.translation import domain, domain_kind, same_pictures, translate

__all__ = [
    "IN_MEMORY",
    "Estimate",
    "Request",
    "Residuals",
    "Run",
    "Settings",
    "Sweep",
    "codec_of",
    "decode_draws",
    "domain",
    "domain_kind",
    "estimate",
    "fingerprint",
    "fit",
    "fit_many",
    "fit_request",
    "load",
    "postmortem",
    "prepared",
    "properties",
    "resume",
    "retrained",
    "same_pictures",
    "train_many",
    "translate",
]
