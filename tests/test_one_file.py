"""A new recipe, density and kind of data: each one file, which everything else then works with."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

import chartae as ch
from chartae import report
from chartae.data import kinds
from chartae.data.kinds import base
from chartae.densities import NAMES
from chartae.recipes import RECIPES

RECIPE = '''
from chartae.objectives import Penalised
from chartae.recipes import recipe
from chartae.terms import LatentNorm, Reconstruction


@recipe("toy-ae", density="normal", densities=("normal",))
def toy_ae(s, *, pull: float = 0.5):
    """An autoencoder whose codes are held together."""
    return Penalised(s.deterministic(), Reconstruction() + pull * LatentNorm())
'''

DENSITY = '''
from chartae.densities import Density, register
from chartae.distributions import Atoms


@register
class ToyAtoms(Density):
    """The training codes themselves, all equally likely."""

    name = "toy-atoms"
    has_density = False

    def __init__(self):
        super().__init__()
        self.register_buffer("codes", None)

    def settings(self):
        return {}

    def fit(self, z, *, seed=0):
        self.codes = z.detach().clone()
        return self

    def forward(self, c=None, condition=None):
        self.require_fit()
        return Atoms(self.codes)
'''

KIND = '''
import numpy as np
import torch

from chartae.data.kinds import register
from chartae.data.kinds.rows import Rows
from chartae.evaluation.base import evaluates
from chartae.evaluation.points import RowEvaluator


@register
class ToyLogs(Rows):
    """Positive numbers, whose logarithms the model sees."""

    name = "toy-logs"
    noun = "positive numbers"

    def __init__(self, shape, columns=None):
        self.shape = tuple(shape)
        if columns is not None:
            self.columns = columns

    @classmethod
    def examples(cls, x, *, at_least=1):
        rows = super().examples(x, at_least=at_least)
        if not (rows > 0).all():
            raise ValueError("x holds numbers of 0 or below; expected positive ones")
        return rows

    @classmethod
    def of(cls, train, *, columns=None, codec=None):
        return cls(train.shape[1:], columns)

    def inside(self, x):
        return x.float().log()

    def outside(self, x):
        return x.exp()

    @classmethod
    def restored(cls, facts):
        return cls(facts["shape"])


@evaluates(ToyLogs)
class ToyLogEvaluator(RowEvaluator):
    pass
'''


@pytest.fixture
def one_file(tmp_path, monkeypatch):
    """Import the text of a module from a file of its own; what it registers is forgotten afterwards."""
    tables = [RECIPES._records, NAMES.registered, base._KINDS]
    len(RECIPES), len(NAMES), kinds.kinds()  # complete before they are copied
    before = [dict(table) for table in tables]

    def load(name, text):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    yield load
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


def everything(run, folder, x):
    """Sampled, saved, loaded, evaluated, reported: the same as in memory."""
    again = ch.load(folder)
    assert again.kind == run.kind
    assert torch.equal(again.encode(x), run.encode(x))
    name = run.default_density
    assert torch.allclose(again.draw(5, name, seed=1), run.draw(5, name, seed=1), atol=1e-5)
    results = ch.evaluate(again, n=100)
    assert results.sets[name].frechet >= 0
    assert (folder / "results.json").is_file()
    page = report.write(folder, folder / "report.html").read_text()
    assert run.settings.recipe in page
    return again


QUICK = {"latent_dim": 3, "epochs": 1, "batch_size": 50, "progress": False}


def test_a_new_recipe_is_one_file(one_file, tmp_path, float32):
    one_file("toy_recipe", RECIPE)
    run = ch.fit("toy-ae", "digits", out=tmp_path / "r", pull=0.25, **QUICK)
    assert repr(run.objective) == "Penalised: Reconstruction() + 0.25 LatentNorm()"
    assert list(run.densities) == ["normal"]
    assert ch.recipes.options("toy-ae") == {"pull": (float, 0.5)}
    everything(run, tmp_path / "r", run.data().test)
    with pytest.raises(TypeError, match="has no option push; its options are: pull"):
        ch.fit("toy-ae", "digits", push=1.0, **QUICK)


def test_a_new_density_is_one_file(one_file, tmp_path, float32):
    one_file("toy_density", DENSITY)
    run = ch.fit("rae", "digits", out=tmp_path / "r", densities=["toy-atoms"], **QUICK)
    data = run.data()
    codes = run.encode(data.train)
    draws = run.density("toy-atoms").sample(7, generator=torch.Generator().manual_seed(0))
    assert all((codes == draw).all(1).any() for draw in draws)
    again = ch.load(tmp_path / "r")
    assert torch.equal(again.sample(5, "toy-atoms", seed=1), run.sample(5, "toy-atoms", seed=1))
    results = ch.evaluate(again, densities=["toy-atoms"], n=100)
    assert results.sets["toy-atoms"].frechet >= 0
    assert "toy-atoms" in report.write(tmp_path / "r", tmp_path / "r" / "report.html").read_text()


def test_a_new_kind_is_one_file(one_file, tmp_path, float32):
    module = one_file("toy_kind", KIND)
    one_file("toy_recipe", RECIPE.replace('densities=("normal",)', 'densities=("normal",), kinds=(ToyLogs,)').replace(
        "from chartae.objectives", "from toy_kind import ToyLogs\nfrom chartae.objectives"
    ))  # fmt: skip
    x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0)).exp()
    data = ch.data.from_arrays(x, kind=module.ToyLogs)
    run = ch.fit("toy-ae", data, out=tmp_path / "r", **QUICK)
    assert isinstance(run.kind, module.ToyLogs)
    assert (run.sample(50) > 0).all()
    assert torch.allclose(run.kind.read(x), x.log())
    assert torch.allclose(run.kind.restore(run.kind.read(x)), x, rtol=1e-5)
    again = ch.load(tmp_path / "r")
    assert torch.equal(again.encode(x), run.encode(x))
    results = ch.evaluate(again, data, n=20)
    assert results.sets["normal"].frechet >= 0
    assert "toy-ae" in report.write(tmp_path / "r", tmp_path / "r" / "report.html").read_text()
    with pytest.raises(ValueError, match="expected positive ones"):
        run.encode(-x)
