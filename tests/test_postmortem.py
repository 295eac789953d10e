"""Post-mortems: a failed step is saved with its cause, fails again from what was saved, and says what to try."""

from __future__ import annotations

import json
import math
import os
import pickle
import shlex
import shutil
import signal

import numpy as np
import pytest
import torch
from torch import nn

import chartae as ch
from chartae import cli
from chartae.cli import verb
from chartae.cli.fit import Fit
from chartae.data import Batches, Dataset
from chartae.data.kinds import Strings
from chartae.recipes import RECIPES
from chartae.records import manifest
from chartae.records.settings import Settings
from chartae.runs import Request, fit_request
from chartae.runs import failures as of_runs
from chartae.terms import Term
from chartae.training import NonFinite, PostMortem, Training, fit, postmortem, rerun_step

pytestmark = pytest.mark.usefixtures("float32")

SIZE, CODE = 6, 2


def data(n=200, seed=0):
    return torch.randn(n, SIZE, generator=torch.Generator().manual_seed(seed))


def objective(terms=None, seed=0):
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Linear(SIZE, 8), nn.ReLU(), nn.Linear(8, CODE))
    decoder = nn.Sequential(nn.Linear(CODE, 8), nn.ReLU(), nn.Linear(8, SIZE))
    model = ch.Autoencoder(ch.Dirac(encoder), ch.Gaussian(decoder, 0.5), ch.StandardNormal(CODE))
    return ch.Penalised(model, ch.Reconstruction() if terms is None else ch.Reconstruction() + terms)


class At(Term):
    """A function of the codes in the batch that holds a marked row, and the squared codes elsewhere."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, t):
        if bool((t.x[:, 0] > 50).any()):
            return self.function(t.z)
        return t.z.square().sum(1)


def marked():
    x = data()
    x[150, 0] = 100.0
    return Batches(x, 32, seed=0)


def bad_step(batches):
    return next(i for i, batch in enumerate(batches.epoch(0)) if (batch.x[:, 0] > 50).any())


def failure(o, batches, **settings):
    with pytest.raises(NonFinite) as caught:
        fit(o, batches, epochs=2, progress=False, **settings)
    return caught.value.postmortem


CAUSES = {
    "the logarithm of zero": (lambda z: (z.sum(1) * 0).log(), "logarithm", "log"),
    "a logarithm of a negative number": (lambda z: (-z.square().sum(1) - 1).log(), "logarithm", "log"),
    "a division by zero": (lambda z: 1 / (z.sum(1) * 0), "division", "div"),
    "0 / 0": (lambda z: (z.sum(1) * 0) / (z.sum(1) * 0), "division", "div"),
    "an exponential": (lambda z: (z.square().sum(1) + 1000).exp(), "overflow", "exp"),
    "a square": (lambda z: (z.sum(1) + 1e30).square(), "overflow", "square"),
    "a root": (lambda z: (-z.square().sum(1) - 1).sqrt(), "undefined", "sqrt"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_operation_that_is_at_fault_is_named(case):
    function, cause, operation = CAUSES[case]
    batches = marked()
    report = failure(objective(0.1 * At(function)), batches)
    findings = report.findings
    assert findings.cause == cause
    assert findings.operation.name == operation
    assert (findings.epoch, findings.batch, findings.terms[0]) == (1, bad_step(batches) + 1, "at")
    assert findings.layer == ""  # all layers are well
    assert all(layer.bad == 0 for layer in findings.layers)
    assert any(t.text == "Give the term at a smaller weight in the objective." for t in report.tries)
    assert rerun_step(report, objective(0.1 * At(function))).repeats


def test_a_derivative_without_a_value_is_a_gradient():
    batches = marked()
    report = failure(objective(At(lambda z: (z - z.detach()).abs().sum(1).sqrt())), batches)
    findings = report.findings
    assert (findings.cause, findings.batch, findings.terms) == ("gradient", bad_step(batches) + 1, ())
    assert findings.parameter.startswith("model.encoder.net.")
    assert findings.returning == "model.encoder.net.2"
    assert math.isfinite(findings.tail[-1].values["loss"])
    assert not math.isfinite(findings.tail[-1].norms["model"])
    assert all(math.isfinite(row.norms["model"]) for row in findings.tail[:-1])
    assert report.tries[0].changes == {"clip": 1.0}


def test_a_batch_that_augmentation_breaks_is_named():
    calls = []

    def augment(x):
        calls.append(len(x))
        return torch.where(x > 50, math.nan, x)

    batches = marked()
    report = failure(objective(), batches, augment=augment)
    assert (report.findings.cause, report.findings.fields) == ("input", ("x",))
    assert report.findings.batch == bad_step(batches) + 1
    assert report.batch["x"].isnan().sum() == 1
    assert report.rows[report.batch["x"].isnan().any(1)].tolist() == [150]
    assert "augmentation" in report.tries[0].text
    before = len(calls)
    assert rerun_step(report, objective()).repeats  # without the function, whose result is stored
    assert len(calls) == before


def test_weights_that_were_never_finite():
    o = objective()
    with torch.no_grad():
        o.model.decoder.net[2].bias[0] = math.nan
    findings = failure(o, marked()).findings
    assert (findings.cause, findings.parameter) == ("weights", "model.decoder.net.2.bias")


def test_second_order_terms_are_watched_inside_vmap():
    report = failure(objective(0.1 * ch.DecoderGradient("exact")), Batches(data(), 32, seed=0), lr=1e30)
    assert report.findings.cause == "overflow"
    assert report.findings.layer.startswith("model.")
    assert rerun_step(report, objective(0.1 * ch.DecoderGradient("exact"))).repeats


def test_the_state_is_that_before_the_step():
    """It is compared with the loop that one would write, up to that step."""
    batches = marked()
    term = At(lambda z: torch.full((len(z),), math.inf) * z.sum(1))
    report = failure(objective(0.1 * term), batches)
    o = objective(0.1 * term)
    adam = torch.optim.Adam(o.parameters(), 1e-3, fused=True)
    norms = []
    for batch in list(batches.epoch(0))[: bad_step(batches)]:
        adam.zero_grad()
        o(batch)["loss"].backward()
        norms.append(math.sqrt(sum(float(p.grad.double().square().sum()) for p in o.parameters())))
        adam.step()
    saved = report.state.tensors
    assert all(torch.equal(saved[f"model/{k}"], v) for k, v in o.state_dict().items())
    moments = adam.state_dict()["state"]
    assert len(moments) == 8
    assert all(torch.equal(saved[f"optimiser/model/{i}/exp_avg"], m["exp_avg"]) for i, m in moments.items())
    assert report.findings.largest_weight == pytest.approx(max(float(p.detach().abs().max()) for p in o.parameters()))
    kept = [row.norms["model"] for row in report.findings.tail[:-1]]
    assert kept == pytest.approx(norms[-len(kept) :])
    bad = list(batches.epoch(0))[bad_step(batches)]
    assert torch.equal(report.batch["x"], bad.x)
    assert torch.equal(batches.x[report.rows], bad.x)


def test_random_numbers_are_those_of_the_step():
    """A variational objective under dropout, with an augmentation by name: the re-run gives the same numbers."""

    def net(seed=0):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), nn.Linear(8, 2 * CODE))
        decoder = nn.Sequential(nn.Linear(CODE, 64), nn.Unflatten(1, (1, 8, 8)))
        model = ch.Autoencoder(ch.Gaussian(encoder, "learnt"), ch.Gaussian(decoder, 0.5), ch.StandardNormal(CODE))
        return ch.Penalised(model, ch.Reconstruction() + ch.KL() + 1e-3 * At(lambda z: z.sum(1) / 0))

    x = torch.rand(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    report = failure(net(), Batches(x, 20, seed=0), augment="flip,crop", lr=1e19)
    again = rerun_step(report, net())
    values = report.findings.tail[-1].values
    assert again.repeats
    assert {k: str(v) for k, v in again.values.items()} == {k: str(v) for k, v in values.items()}


def test_a_step_that_cannot_be_repeated_says_so():
    class Once(Term):
        left = 3

        def forward(self, t):
            Once.left -= 1
            return 0 * t.z[:, 0] + (math.nan if Once.left == 0 else 0.0)

    report = failure(objective(Once()), marked())
    assert (report.findings.cause, report.findings.repeated) == ("unrepeated", False)
    again = rerun_step(report, objective(Once()))
    assert again.repeats is False
    assert "does not fail again" in again.text


def test_an_error_that_follows_from_a_loss_that_is_no_number_is_that_loss():
    class Strict(Term):
        """Refuses what is not finite, as scikit-learn does, a step later."""

        def forward(self, t):
            if not bool(t.model.encoder.net[0].weight.detach().isfinite().all()):
                raise ValueError("Input X contains NaN.")
            return t.z.square().sum(1)

    with pytest.raises(NonFinite, match="epoch 1, batch 2"):
        fit(objective(Strict()), Batches(data(), 32, seed=0), lr=1e30, progress=False)

    class Own(Term):
        def forward(self, t):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fit(objective(Own()), Batches(data(), 32, seed=0), progress=False)


# -- what is written ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failed_run(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("runs") / "broken"
    request = Request(latent_dim=2, densities=(), out=folder, progress=False, training=Training(lr=1e30, epochs=2))
    with pytest.raises(NonFinite) as caught:
        fit_request("rae-l2", "digits", request)
    return folder, caught.value


@pytest.fixture
def broken(failed_run, tmp_path):
    """A copy of the run, and the error."""
    folder, error = failed_run
    return shutil.copytree(folder, tmp_path / "runs" / "broken"), error


def test_what_is_read_is_what_was_found(broken):
    folder, error = broken
    report, ours = ch.postmortem(folder), error.postmortem
    assert report.findings == ours.findings or str(report.findings) == str(ours.findings)  # NaN is not NaN
    assert report.state.facts["epoch"] == 0
    assert report.state.tensors.keys() == ours.state.tensors.keys()
    assert all(torch.equal(v, ours.state.tensors[k]) for k, v in report.state.tensors.items())
    assert all(torch.equal(v, ours.batch[k]) for k, v in report.batch.items())
    assert torch.equal(report.rows, ours.rows)
    assert report.settings == ours.settings == Settings.read(folder / "run.toml")
    assert [t.changes for t in report.tries] == [t.changes for t in ours.tries]
    assert all(t.command.endswith(f"--out {folder}-{'-'.join(t.changes)}") for t in report.tries)
    assert report.rerun.repeats
    assert set(manifest.listed(folder / "postmortem")) == {p.name for p in (folder / "postmortem").iterdir()} - {
        manifest.NAME
    }
    alone = ch.postmortem(folder / "postmortem")
    assert alone.rerun.repeats
    assert f"`chartae postmortem {ours.folder.parent}` shows more" in str(error)


def test_a_fit_without_a_folder_has_the_same(tmp_path):
    with pytest.raises(NonFinite) as caught:
        ch.fit("rae", data(), lr=1e30, latent_dim=2, progress=False)
    report = caught.value.postmortem
    assert report.folder is None
    assert report.settings.recipe == "rae"
    assert [t.command for t in report.tries] == ["", ""]  # in-memory data
    saved = report.save(tmp_path / "p")
    assert ch.postmortem(saved.folder).rerun.repeats
    with pytest.raises(FileExistsError, match="holds no post-mortem"):
        report.save(tmp_path)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.postmortem.findings.cause == "overflow"


def test_overwriting_and_success_remove_it(broken):
    folder, _ = broken
    (folder / "postmortem" / "mine.txt").write_text("kept")
    options = {"latent_dim": 2, "epochs": 1, "densities": (), "progress": False, "out": folder}
    ch.fit("rae-l2", "digits", overwrite=True, **options)
    left = [p.name for p in folder.rglob("*") if "postmortem" in str(p.relative_to(folder))]
    assert sorted(left) in ([], ["mine.txt", "postmortem"])
    with pytest.raises(FileNotFoundError, match="there is no post-mortem"):
        ch.postmortem(folder)


def test_a_second_failure_replaces_the_first(broken):
    folder, _ = broken
    with pytest.raises(NonFinite):
        ch.fit("rae", "digits", lr=1e25, epochs=1, latent_dim=3, progress=False, out=folder, overwrite=True)
    assert ch.postmortem(folder).settings.recipe == "rae"


def test_a_large_batch_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr("chartae.training.examining.MOST_BATCH", 100)
    with pytest.raises(NonFinite):
        ch.fit("rae", data(), lr=1e30, latent_dim=2, progress=False, out=tmp_path / "r")
    report = ch.postmortem(tmp_path / "r")
    assert report.batch == {}
    assert not (tmp_path / "r" / "postmortem" / "batch.safetensors").exists()
    assert report.findings.left_out.startswith("it has ")
    assert report.rerun.repeats is None
    assert "only its row numbers are kept" in report.rerun.text


def test_a_disk_that_is_full_does_not_hide_the_cause(monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(postmortem, "write_tensors", full)
    with pytest.raises(NonFinite, match=r"Its post-mortem could not be written: .*No space left") as caught:
        ch.fit("rae", data(), lr=1e30, latent_dim=2, progress=False, out=tmp_path / "r")
    assert caught.value.postmortem.findings.cause == "overflow"


@pytest.mark.parametrize("name", ["postmortem.json", "state.safetensors", "batch.safetensors", "run.toml"])
def test_files_that_changed_are_named(broken, name):
    path = broken[0] / "postmortem" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} has changed since chartae wrote it"):
        ch.postmortem(broken[0])


def test_files_of_two_postmortems_are_not_mixed(broken, tmp_path):
    other = tmp_path / "other"
    with pytest.raises(NonFinite):
        ch.fit("rae-l2", "digits", lr=1e30, epochs=2, latent_dim=2, seed=1, progress=False, out=other, densities=())
    place = broken[0] / "postmortem"
    for name in ("state.safetensors", "batch.safetensors"):
        kept = (place / name).read_bytes()
        (place / name).write_bytes((other / "postmortem" / name).read_bytes())
        manifest.register(place, name)  # a stranger can do so
        with pytest.raises(ValueError, match=f"{name} belongs to another post-mortem"):
            ch.postmortem(broken[0])
        (place / name).write_bytes(kept)
        manifest.register(place, name)
    assert ch.postmortem(broken[0]).rerun.repeats


CRAFTED = {
    "no cause": ({"cause": "magic"}, "cause in .* is 'magic'; expected one of"),
    "a text for a number": ({"batch": "3"}, "batch in postmortem.json is '3'"),
    "a negative count": ({"steps": -1}, "steps in postmortem.json is -1"),
    "steps beyond memory": ({"steps": 10**15}, "expected a step of an epoch"),
    "another number of rows": ({"examples": 5}, "expected .* Fit the run again"),
    "control characters": ({"layer": "\x1b[2J"}, "printable"),
    "layers that are no list": ({"layers": "x"}, "expected a list"),
    "an unknown setting": ({"training": {"code": "x"}}, "unknown settings code"),
    "a setting of another type": ({"training": {"epochs": "many"}}, "epochs in postmortem.json"),
    "a setting out of range": ({"training": {"lr": -1.0}}, "lr is -1.0"),
    "another objective": ({"objective": "Penalised: nothing"}, "objective is Penalised"),
    "another version": ({"version": 99}, "version in postmortem.json is 99"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_facts_are_refused(broken, case):
    change, message = CRAFTED[case]
    place = broken[0] / "postmortem"
    values = json.loads((place / "postmortem.json").read_text()) | change
    (place / "postmortem.json").write_text(json.dumps(values))
    manifest.register(place, "postmortem.json")
    with pytest.raises(ValueError, match=message):
        ch.postmortem(broken[0])


def test_links_are_not_followed(broken, tmp_path):
    folder, _ = broken
    place = folder / "postmortem"
    os.rename(place, tmp_path / "elsewhere")
    before = {p.name: p.read_bytes() for p in (tmp_path / "elsewhere").iterdir()}
    place.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link"):
        ch.postmortem(folder)
    with pytest.raises(NonFinite, match="could not be written: .* is a link"):
        ch.fit(
            "rae-l2", "digits", lr=1e30, epochs=2, latent_dim=2, densities=(), out=folder, progress=False, resume=True
        )
    assert {p.name: p.read_bytes() for p in (tmp_path / "elsewhere").iterdir()} == before


# -- recipes and commands ----------------------------------------------------------------------------------------------


def brought(name):
    """Data for a recipe, and the keywords of its fit."""
    x = torch.rand(187, SIZE, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(n) % 3 for n in (149, 19, 19))
    if Strings in RECIPES[name].kinds:
        return ["1+2", "x*3", "sin(x)", "1+x", "x/2", "exp(x)+1"] * 31 + ["x"], {"grammar": "expressions"}
    translating = {"to": torch.rand(90, 5)} if name == "iae-translate" else {}
    return Dataset("rows", x[:149], x[149:168], x[168:], *labels), translating


QUICK = ("rae-gp", "aae", "vae-gan", "iae-cluster", "aae-semisup", "iae-translate", "grae", "ncdae")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in RECIPES])
def test_the_failed_step_of_every_recipe_fails_again(name, tmp_path):
    x, keywords = brought(name)
    with pytest.raises(NonFinite):
        ch.fit(
            name, x, epochs=3, batch_size=32, lr=1e30, densities=(), progress=False, device="cpu",
            out=tmp_path / "r", **keywords,
        )  # fmt: skip
    report = ch.postmortem(tmp_path / "r")
    assert report.rerun.repeats, report.rerun.text
    # pairs of neighbours come from all of the data
    assert report.rerun.exact or "agreement" in report.rerun.values
    assert report.rerun.exact == ("not those of the training" not in report.rerun.text)


def test_the_option_that_weighs_a_term_is_found():
    settings = Settings(
        "rae-l2", "digits", (1, 8, 8), 4, "mlp", 1, 128, 1e-3, 0, kind=ch.data.load("digits").kind.to_dict()
    )
    built = of_runs.built_from(settings)
    before = built.objective.terms.weights
    findings = postmortem.Findings("overflow", 1, 1, 1, 1, terms=("decoder_l2",))
    change = of_runs._of_term(postmortem.Try("x"), settings, findings, built.objective)
    ((name, value),) = change.changes.items()
    assert name == "l2"
    after = of_runs.built_from(Settings(**{**vars(settings), "options": {name: value}})).objective.terms.weights
    assert after["decoder_l2"] == pytest.approx(before["decoder_l2"] / 10)
    assert after["latent_norm"] == before["latent_norm"]


def test_the_commands_are_the_fit_with_one_change(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{i % 2},{i}" for i, (a, b, c) in enumerate(rng.normal(size=(90, 3)))]
    table = tmp_path / "a table.csv"
    table.write_text("\n".join(["a,b,c,sex,id", *rows]) + "\n")
    words = [
        "fit", str(table), "--recipe", "vae", "--condition", "sex", "--drop", "id", "--header", "True", "--lr", "1e30",
        "--epochs", "2", "--latent-dim", "2", "--batch-size", "20", "--sigma", "0.5", "--patience", "3", "--ema", "0.5",
        "--out", str(tmp_path / "r"), "--quiet",
    ]  # fmt: skip
    assert cli.main(words) == 1
    first, second = ch.postmortem(tmp_path / "r").tries[:2]
    assert first.command.startswith("chartae fit '")
    original, chosen = verb.parsed(Fit, "fit", words[1:])
    for change in (first, second):
        command, options = verb.parsed(Fit, "fit", shlex.split(change.command)[2:])
        assert command.dataset == original.dataset
        assert {k: float(v) for k, v in options.items()} == {k: float(v) for k, v in chosen.items()}
        assert command.data == original.data
        ours, theirs = vars(command.training), vars(original.training) | dict(change.changes)
        assert {k: v for k, v in ours.items() if v != theirs[k]} == {}
    assert cli.main([*shlex.split(first.command)[1:], "--quiet"]) == 0
    assert (tmp_path / "r-lr" / "weights.safetensors").is_file()


def test_the_command_survives_a_path_that_looks_like_a_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [
        "fit",
        "digits",
        "--recipe",
        "rae",
        "--latent-dim",
        "2",
        "--epochs",
        "2",
        "--lr",
        "1e30",
        "--components",
        "2",
    ]
    assert cli.main([*words, "--out=-a b", "--quiet"]) == 1
    assert "`chartae postmortem '-a b'`" in capsys.readouterr().err
    command = ch.postmortem("-a b").tries[0].command
    assert cli.main([*shlex.split(command)[1:], "--quiet"]) == 0
    assert (tmp_path / "-a b-lr" / "weights.safetensors").is_file()


def test_the_command_of_strings_names_the_grammar(tmp_path):
    (tmp_path / "e.txt").write_text("\n".join(["x", "x+x", "sin(x)", "x*x", "1+x", "exp(x)"] * 8))
    words = ["fit", str(tmp_path / "e.txt"), "--recipe", "grae", "--grammar", "expressions", "--net", "gru:8", "--skip"]
    words += ["--epochs", "2", "--lr", "1e30", "--out", str(tmp_path / "r"), "--quiet", "--densities", "normal"]
    assert cli.main(words) == 1
    command = ch.postmortem(tmp_path / "r").tries[0].command
    parsed, _ = verb.parsed(Fit, "fit", shlex.split(command)[2:])
    assert (parsed.data.grammar, parsed.model.net, parsed.data.skip) == ("expressions", "gru:8", True)
    assert cli.main([*shlex.split(command)[1:], "--quiet"]) == 0


def test_the_verb_shows_the_cause_and_what_to_try(broken, capsys):
    folder, _ = broken
    assert cli.main(["postmortem", str(folder)]) == 0
    out = capsys.readouterr().out
    report = ch.postmortem(folder)
    assert report.findings.layer in out
    for sentence in (*report.findings.sentences, report.rerun.text, *(t.command for t in report.tries)):
        assert sentence in out
    assert "not finite" in out
    assert cli.main(["postmortem", str(folder), "--json", "--no-rerun", "--check", "batch==2"]) == 0
    values = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert values["rerun"] is None
    assert values["tail"][-1]["values"]["loss"] == "nan"
    assert values["rows"] == report.rows.tolist()
    assert cli.main(["postmortem", str(folder.parent)]) == 2
    assert "there is no post-mortem in" in capsys.readouterr().err


def test_names_with_brackets_are_shown(tmp_path, capsys):
    folder = tmp_path / "[red]runs[/red]"
    with pytest.raises(NonFinite):
        ch.fit("rae", "digits", lr=1e30, epochs=2, latent_dim=2, progress=False, out=folder)
    assert cli.main(["postmortem", str(folder)]) == 0
    assert f"--out '{folder}-lr'" in capsys.readouterr().out


def test_a_training_without_a_recipe_is_shown(tmp_path, capsys):
    report = failure(objective(), Batches(data(), 32, seed=0), lr=1e30, folder=tmp_path / "own")
    assert isinstance(report, PostMortem)
    assert cli.main(["postmortem", str(tmp_path / "own")]) == 0
    assert "rerun_step(postmortem, objective)" in capsys.readouterr().out
    assert rerun_step(ch.postmortem(tmp_path / "own"), objective(seed=5)).repeats  # its weights are replaced
    with pytest.raises(ValueError, match="Build the same one"):
        rerun_step(report, objective(0.5 * ch.LatentNorm()))


def test_a_signal_after_a_loss_that_is_no_number_saves_no_checkpoint(tmp_path):
    """Such a checkpoint could not be continued."""

    sent = []

    class Signals(Term):
        def forward(self, t):
            if not sent and not bool(t.z.detach().isfinite().all()):
                sent.append(os.kill(os.getpid(), signal.SIGTERM))
            return t.z.square().sum(1)

    with pytest.raises(NonFinite):
        fit(objective(Signals()), Batches(data(), 32, seed=0), lr=1e30, folder=tmp_path / "r", progress=False)
    assert not list((tmp_path / "r").glob("checkpoint*"))


def test_verify_reads_the_folder_too(broken, capsys):
    assert cli.main(["verify", str(broken[0]), "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert {"postmortem/state.safetensors", "postmortem/batch.safetensors", "postmortem/postmortem.json"} <= names
    path = broken[0] / "postmortem" / "batch.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cli.main(["verify", str(broken[0])]) == 1
    assert "postmortem/batch.safetensors" in capsys.readouterr().err
