"""Summaries of sets of strings, compared with hand-computed values and scipy."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from chartae.metrics import string_summary, wasserstein


def test_wasserstein_is_scipys():
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (5, 9), (40, 7)):
        a, b = rng.normal(size=n), rng.integers(-2, 3, m)
        assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b))
    assert wasserstein(a, a) == 0
    with pytest.raises(ValueError, match="3 and 0 numbers"):
        wasserstein(np.ones(3), np.ones(0))


def test_counts():
    strings = ["x", "x", "x+1", "", "1+x"]
    summary = string_summary(strings, ["x", "x+x+x"])
    assert summary == {
        "count": 5,
        "complete": 0.8,
        "unique": 0.75,
        "novel": pytest.approx(2 / 3),
        "mean_length": 2.0,
        "reference_length": 3.0,
        "length_distance": pytest.approx(wasserstein_distance([1, 1, 3, 3], [1, 5])),
        "notes": {},
    }
    assert string_summary(strings, ["x"], ["abc", ""])["reference_length"] == 3
    with pytest.raises(TypeError, match="training is the single string 'x'"):
        string_summary(strings, "x")


@pytest.mark.parametrize("strings", [[], [""], ["x"]])
@pytest.mark.parametrize("training", [[], [""], ["x"]])
def test_never_fails(strings, training):
    summary = string_summary(strings, training)
    assert {k for k, v in summary.items() if v is None} == set(summary["notes"])
    json.dumps(summary, allow_nan=False)
