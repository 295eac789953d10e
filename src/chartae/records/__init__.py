"""The files of a run: settings, results, manifest, and tensors with a header that says what they are."""
