"""The files of a run: settings, results, log, manifest, and tensors with a header that names their kind."""
