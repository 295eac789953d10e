from __future__ import annotations

import pytest
import torch

from chartae.conditionals import Bernoulli
from chartae.objectives import Penalised
from chartae.recipes import RECIPES, recipe, trial
from chartae.terms import Reconstruction


def test_every_recipe_can_be_asked():
    state = torch.get_rng_state()
    asked = {name: trial(name) for name in RECIPES}
    assert torch.equal(torch.get_rng_state(), state)
    assert {name for name, o in asked.items() if o.model.encoder.has_category} == {
        "aae-cluster", "aae-semisup", "iae-cluster", "iae-semisup",
    }  # fmt: skip
    assert {name for name, o in asked.items() if not o.model.decoder.has_density} == {
        "ali", "iae", "iae-cluster", "iae-flipped", "iae-semisup", "iae-translate",
    }  # fmt: skip
    assert {name: set(o.uses) for name, o in asked.items() if o.uses} == {
        "aae-semisup": {"labels"}, "iae-semisup": {"labels"}, "iae-translate": {"partner"},
    }  # fmt: skip


def test_options_count():
    assert trial("rae") is trial("rae", {})
    assert trial("rae", {"beta": "0.5"}) is trial("rae", {"beta": 0.5})
    assert trial("rae", {"beta": 0.5}) is not trial("rae")
    assert trial("iae-cluster", {"clusters": 3}).model.code_shape == (3,)
    # for pictures alone
    assert isinstance(trial("vae", {"likelihood": "bernoulli"}).model.decoder, Bernoulli)
    with pytest.raises(ValueError, match="recipe is 'gan'"):
        trial("gan")
    with pytest.raises(TypeError, match="has no option gamma"):
        trial("rae", {"gamma": 1})
    with pytest.raises(ValueError, match="choose l2, gp, sn or none"):
        trial("grae", {"penalty": "l3"})


def test_a_recipe_that_was_registered_anew_is_asked_anew():
    def build(s):
        return Penalised(s.deterministic(), Reconstruction())

    def other(s):
        return Penalised(s.variational(1.0), Reconstruction())

    try:
        recipe("a-recipe-of-tests")(build)
        first = trial("a-recipe-of-tests")
        recipe("a-recipe-of-tests")(other)
        assert trial("a-recipe-of-tests") is not first
    finally:
        del RECIPES._records["a-recipe-of-tests"]
