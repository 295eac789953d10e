"""Reports, written from synthetic folders: whole, self-contained, escaped; damage is named."""

import contextlib
import json
import re
import threading
from html.parser import HTMLParser

import numpy as np
import pytest

from chartae import report
from chartae.records import manifest
from chartae.records.pictures import Pictures
from chartae.report.numbers import number

EVIL = '<script>alert("$x_1$")</script>\'"&'
RUN = """
recipe = "rae-l2"
data = "mnist"
shape = [1, 8, 8]
latent_dim = 16
net = "mlp"
lr = 0.00123
seed = 5
version = "0.1.0"
objective = "Penalised: Reconstruction() + 0.0128 LatentNorm()"
[options]
beta = 0.0001
"""
SCORES = {"normal": 97.1, "gmm": 12.3, "reconstruction": 8.4, "interpolation-linear": 15.2, "floor": 1.25}
RESULTS = {
    "protocol": {
        "extractor": {"name": "lenet-mnist", "dim": 128},
        "n": 10000,
        "reference": "test",
        "versions": {"torch": "2.99.1"},
    },
    "metric": "frechet-lenet-mnist",
    "sets": {k: {"frechet": v, "kid": v / 1e4, "kid_sd": 0.0002, "recall": 0.512} for k, v in SCORES.items()},
    "reconstruction": {"mse": 0.0123, "psnr": 21.7, "ssim": 0.913},
    "densities": {"normal": {"log_likelihood": -18.42}, "gmm": {"log_likelihood": -14.07, "components": 10}},
    "training": {"seconds": 412.3, "epochs": 3, "best_epoch": 2, "parameters": 1234567},
}


def log() -> str:
    rows = [
        {
            "split": split,
            "epoch": e,
            "step": 10 * e,
            "loss": 90.0 / e,
            "latent_norm": 1.5,
            "critic/loss": float("nan"),
        }
        for e in (1, 2, 3)
        for split in ("train", "valid")
    ]
    return "\n".join(map(json.dumps, rows))


def arrays(channels: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, channels, 8, 8), dtype=np.uint8)
    return {
        "originals": images,
        "reconstructions": images[::-1],
        "samples_normal": images,
        "samples_gmm": images[:5],
        "interpolation_linear": images[:8].reshape(2, 4, channels, 8, 8),
        "latent": rng.normal(size=(30, 2)),
        "latent_labels": np.arange(30) % 3,
        "latent_gmm": rng.normal(size=(20, 2)),
    }


def make_run(folder, *, settings=RUN, results=RESULTS, pictures=None):
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(settings)
    (folder / "log.jsonl").write_text(log())
    (folder / "results.json").write_text(json.dumps(results))
    np.savez(folder / "pictures.npz", **(arrays() if pictures is None else pictures))
    return folder


def make_comparison(folder, **changes):
    rows, summary = [], []
    for recipe, sd in (("rae-l2", 0.44), ("vae", None)):
        for seed in (0, 1):
            row = {"recipe": recipe, "seed": seed, "folder": f"{recipe}/seed-{seed}", "seconds": 77.7}
            rows.append(row | {"sets": RESULTS["sets"], "reconstruction": {"mse": 0.0123}})
        make_run(folder / recipe / "seed-0", settings=RUN.replace("rae-l2", recipe))
        shift = len(summary)
        columns = {k: {"mean": v + shift, "sd": sd} for k, v in SCORES.items() if k != "floor"}
        columns["own"] = columns["normal"]
        summary.append({"recipe": recipe, "own": "normal", "n": 2, "columns": columns})
    data = {"data": "mnist", "metric": "fid", "protocol": RESULTS["protocol"], "recipes": ["rae-l2", "vae"],
            "seeds": [0, 1], "rows": rows, "summary": summary}  # fmt: skip
    (folder / "comparison.json").write_text(json.dumps(data | changes))
    return folder


class Page(HTMLParser):
    """The page's text, its tags, and all that it would load."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.loads, self.parts, self.attributes, self.depth = [], [], [], [], 0
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.text = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.loads += [v for k, v in attrs if k in ("src", "srcset", "href", "action", "data", "poster")]

    def handle_data(self, data):
        if self.tags[-1:] != ["style"]:
            self.parts.append(data)


def page(folder, tmp_path) -> Page:
    out = tmp_path / "deep" / "report.html"
    assert report.write(folder, out) == out
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    p = Page(out)
    assert all(v.startswith("data:image/png;base64,") for v in p.loads)
    assert not {"script", "link", "iframe", "object", "form", "base"} & set(p.tags)
    assert "http" not in re.sub("http-equiv", "", p.source)
    assert "url(" not in p.source
    assert not [k for k, _ in p.attributes if k.startswith("on")]
    return p


def test_a_run_is_reported_in_full(tmp_path):
    p = page(make_run(tmp_path / "run"), tmp_path)
    assert (
        "Gaussian mixture samples reach 12.30, against 97.10 for the Normal, 7.9 times lower "
        "(Fréchet distance, lenet-mnist features; lower is better). Reconstructions reach 8.40. "
        "Real data (the floor) reach 1.25." in p.text
    )
    for shown in (
        "Penalised: Reconstruction() + 0.0128 LatentNorm()", "0.00123", "options.beta 0.0001", "1 × 8 × 8",
        "9.710 ± 0.200", "0.512", "15.20", "-18.42", "-14.07", "gmm.components 10", "21.70", "0.9130",
        "0.0123", "1,234,567", "6 min 52 s", "412.3", "extractor.dim 128", "versions.torch 2.99.1", "n = 10000.",
        "Reference: test.", "nats per example", "marks epoch 2", "not FID", "last: train 30.00, valid 30.00",
        "9 of 9 test examples", "n = 30, 3 labels", "2 of 2 paths of 4 steps",
    ):  # fmt: skip
        assert shown in p.text, shown
    assert ", ".join(re.findall("<h2>(.*?)</h2>", p.source)) == (
        "Model and objective, Fit, Density, Samples, Reconstructions, Interpolations, Latent space, "
        "Settings, Protocol, Environment"
    )
    # two curves (the third holds no number), codes and draws, each for both themes; grids, pairs, paths
    assert len(p.loads) == 2 * (2 + 2) + 3 + 1 + 1
    rows = re.findall(r'<tr class="(.*?)"><th scope="row">([^<]*)', p.source)
    assert [r for r in rows if "best" in r[0]] == [("density best", "Gaussian mixture ")]
    names = ["Real data (floor)", "Reconstructions", "Normal", "Gaussian mixture", "Interpolations, linear"]
    assert [r[1].strip() for r in rows] == names


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ({"gmm": 10.0, "normal": 11.0}, "for the Normal, 9.1% lower"),
        ({"gmm": 10.0, "normal": 11.0, "prior": 50.0}, "for the prior, 5.0 times lower"),
        ({"gmm": 10.0, "normal": 10.0}, "10.00, against 10.00 for the"),
        (
            {"prior": 30.0, "kde": 10.0},
            "Kernel density samples reach 10.00, against 30.00 for the prior, 3.0 times",
        ),
        ({"mine": 3.25}, "mine samples reach 3.25 ("),
        ({"gmm": None, "normal": float("nan")}, "mean squared error of 0.0123"),
    ],
)
def test_the_headline_says_what_the_numbers_say(tmp_path, scores, says):
    results = RESULTS | {"sets": {k: {"frechet": v} for k, v in scores.items()}, "metric": "fid", "own": "prior"}
    p = page(make_run(tmp_path / "run", results=results), tmp_path)
    assert says in p.text
    assert "not FID" not in p.text


def test_what_is_absent_is_said(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.toml").write_text("")
    p = page(folder, tmp_path)
    for said in ("chartae evaluate RUN", "no log.jsonl", "no pictures.npz", "names no objective"):
        assert said in p.text
    for results in (
        {},
        {"sets": {"gmm": {}}, "metric": None},
        {"densities": {"kde": {"log_likelihood": -1.5}}},
    ):
        (folder / "results.json").write_text(json.dumps(results))
        page(folder, tmp_path)


@pytest.mark.slow
def test_what_is_learnt_of_a_code_and_what_went_wrong(tmp_path):
    found = {
        "classes": {"error": 0.0181},
        "clusters": {"error_majority": 0.0243, "error_confident": 0.0244, "nmi": 0.827, "used": 21},
        "code": {
            "error": 31.0,
            "shuffled": 83.7,
            "spread": 0.066,
            "calibration": 0.43,
            "information": None,
            "bound": 5.02,
            "used": None,
        },
    }
    folder = make_run(tmp_path / "run", results=RESULTS | found | {"training": {"best_epoch": 3, "alarms": ["x"]}})
    alarm = {"split": "alarm", "epoch": 2, "step": 20, "kind": "critic/latent has won", "alarm": f"a critic {EVIL}"}
    (folder / "log.jsonl").write_text(log() + "\n" + json.dumps(alarm))
    p = page(folder, tmp_path)
    for said in (
        "1.81", "error, majority class, %", "2.43", "0.8270", "clusters in use", "21",
        "with another example's code", "83.7", "I(x; code), lower bound, nats", "5.02",
        "Alarm in epoch 2: a critic", "epoch 3, whose weights were kept",
    ):  # fmt: skip
        assert said in p.text, said
    assert "categories in use" not in p.text
    plain = page(make_run(tmp_path / "plain"), tmp_path)
    assert "Is the code used?" not in plain.text
    (folder / "results.json").unlink()
    (folder / "run.toml").write_text(RUN.replace("[options]", 'to = "mnist+coloured"\n[options]'))
    assert "chartae evaluate RUN" in page(folder, tmp_path).text


@pytest.mark.slow
def test_tables_and_colour_and_other_channels(tmp_path):
    rng = np.random.default_rng(0)
    clouds = {k: rng.normal(size=(40, 2)) for k in ("data_2d", "samples_2d_gmm", "latent")}
    clouds["data_2d"][0] = np.nan
    clouds["latent_labels"] = np.arange(40)  # more than there are colours
    p = page(make_run(tmp_path / "table", pictures=clouds), tmp_path)
    assert "n = 39" in p.text
    assert "Decoded samples" not in p.text
    assert "mean of" not in page(make_run(tmp_path / "colour", pictures=arrays(3)), tmp_path).text
    assert "the mean of 2 channels" in page(make_run(tmp_path / "two", pictures=arrays(2)), tmp_path).text


def test_large_images_are_made_to_fit(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 3, 256, 256), dtype=np.uint8)
    p = page(make_run(tmp_path / "run", pictures={"samples_gmm": noise}), tmp_path)
    assert "16 of 64" in p.text
    assert len(p.source) < 2_000_000


def test_a_comparison_is_reported_in_full(tmp_path):
    p = page(make_comparison(tmp_path / "cmp"), tmp_path)
    assert "rae-l2 with Gaussian mixture samples is best: 12.30 ± 0.44, against 13.30 for the next" in p.text
    assert "Without several seeds" in p.text
    for shown in (
        "97.10 ± 0.44",
        "15.20 ± 0.44",
        "9.40",
        "77.70",
        "0.0123",
        "1.25",
        "seed 5",
        "FID",
        "0.00123",
    ):
        assert shown in p.text, shown
    assert "97.10 ± 0.44 (normal) 97.10 ± 0.44 12.30 ± 0.44" in p.text
    # the lower recipe is bold in all five columns
    assert len(re.findall('<td class="best"', p.source)) == 5
    assert re.findall("<h2>(.*?)</h2>", p.source) == [
        "Recipes", "rae-l2", "vae", "Every run", "Settings", "Protocol", "Environment"]  # fmt: skip
    # the chart twice; two grids, the pairs and the paths of each recipe
    assert len(p.loads) == 2 + 2 * 4


def test_close_recipes_have_no_winner_and_absent_runs_are_said(tmp_path):
    summary = [{"recipe": r, "n": 3, "columns": {"gmm": {"mean": m, "sd": 0.6}}} for r, m in (("a", 5.0), ("b", 6.0))]
    rows = [{"recipe": "a", "seed": 0, "folder": "a/gone", "sets": {"gmm": {"frechet": 0.0}}}, {}]
    p = page(make_comparison(tmp_path / "cmp", summary=summary, rows=rows), tmp_path)
    assert "no clear winner" in p.text
    assert "not here" in p.text
    page(make_comparison(tmp_path / "bare", summary=[], rows=None, protocol=None), tmp_path)


@pytest.mark.parametrize("folder", ["/etc", "../run", "a/../../run", "..\\run", "C:\\run", "link", 3, "a\0b"])
def test_a_comparison_never_reads_outside_itself(tmp_path, folder):
    make_run(tmp_path / "run")
    make_comparison(tmp_path / "cmp", rows=[{"recipe": "x", "folder": folder}])
    (tmp_path / "cmp" / "link").symlink_to(tmp_path / "run")
    with pytest.raises(ValueError, match=r"comparison\.json"):
        report.write(tmp_path / "cmp", tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_hostile_text_stays_text(tmp_path):
    quoted = json.dumps(EVIL)
    settings = "".join(f"{key} = {quoted}\n" for key in ("recipe", "data", "objective", "shape", quoted))
    results = {
        "protocol": {EVIL: {EVIL: EVIL}, "n": EVIL},
        "metric": EVIL,
        "own": EVIL,
        "sets": {EVIL: {"frechet": 1.0, EVIL: 1.0, "notes": {EVIL: EVIL}}},
        "reconstruction": {EVIL: 2.0},
        "densities": {EVIL: {"log_likelihood": 1.0, EVIL: EVIL}},
        "training": {EVIL: EVIL},
    }
    x = arrays()
    key = EVIL.replace("/", "")
    x |= {
        f"samples_{key}": x["originals"],
        f"latent_{key}": x["latent"],
        f"interpolation_{key}": x["interpolation_linear"],
    }
    folder = make_run(tmp_path / "cmp" / "run", settings=settings, results=results, pictures=x)
    with (folder / "log.jsonl").open("a") as f:
        f.write("\n" + json.dumps({"split": EVIL, "epoch": 1, "step": 1, EVIL: 1.0, "__x$": 10**400}))
        f.write("\n" + json.dumps({"split": "train", "epoch": 4, "step": 40, EVIL: 1.0, "loss": EVIL}))
    p = page(folder, tmp_path)
    assert EVIL in p.text
    summary = [{"recipe": EVIL, "own": EVIL, "columns": {EVIL: {"mean": m}, "own": {"mean": m}}} for m in (1.0, None)]
    rows = [{"recipe": EVIL, "folder": "run", "sets": {EVIL: {"frechet": 1.0}}, "reconstruction": {EVIL: 1.0}}]
    data = {"data": EVIL, "metric": EVIL, "protocol": {EVIL: EVIL}, "rows": rows, "summary": summary}
    (tmp_path / "cmp" / "comparison.json").write_text(json.dumps(data))
    assert EVIL in page(tmp_path / "cmp", tmp_path).text


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("results.json", {"sets": {"gmm": {"frechet": EVIL}}}, r"sets\.gmm\.frechet in results\.json is '<script>"),
        ("results.json", {"reconstruction": {"mse": "0.1"}}, r"reconstruction\.mse in results\.json is '0\.1'"),
        (
            "results.json",
            {"densities": {"kde": {"log_likelihood": True}}},
            r"densities\.kde\.log_likelihood .* is True",
        ),
        ("results.json", {"training": {"best_epoch": 2.5}}, r"training\.best_epoch in results\.json is 2\.5"),
        ("comparison.json", {"summary": [{"columns": {"gmm": {"mean": EVIL}}}]}, r"summary\.0\.columns\.gmm\.mean"),
        ("comparison.json", {"rows": [{"seed": EVIL}]}, r"rows\.0\.seed in comparison\.json"),
    ],
)
def test_text_in_the_place_of_a_number_is_named(tmp_path, name, content, says):
    folder = make_run(tmp_path / "run")
    (folder / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=says):
        report.write(folder, tmp_path / "r.html")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("run.toml", b"recipe = ", "run.toml is damaged"),
        ("run.toml", b"\xff", "run.toml is damaged"),
        ("log.jsonl", b'{"loss": 1}\n{"loss": ', "log.jsonl is damaged in line 2"),
        ("log.jsonl", b"[1]", "log.jsonl is damaged in line 1: a row is a list"),
        ("results.json", b"{", "results.json is damaged"),
        ("results.json", b"[]", r"results.json is a list"),
        ("results.json", b'{"sets": [1]}', r"sets in results\.json is a list"),
        ("results.json", b"[" * 100_000, r"results\.json is damaged"),
        ("pictures.npz", b"no zip", "pictures.npz is damaged"),
        (
            "pictures.npz",
            {"originals": np.zeros((2, 3), np.uint8)},
            r"pictures.npz: originals is uint8 \(2, 3\)",
        ),
        ("pictures.npz", {"samples_gmm": np.zeros((2, 1, 3, 3))}, "samples_gmm is float64"),
        ("pictures.npz", {"interpolation_linear": np.zeros((2, 1, 3, 3), np.uint8)}, "rows, steps"),
        ("pictures.npz", {"latent": np.zeros((2, 3))}, r"numbers \(n, 2\)"),
        ("pictures.npz", {"latent": np.zeros((2, 2)), "latent_labels": np.zeros(3)}, "each of 2 codes"),
        ("pictures.npz", {"latent": np.array([[{}, 1]], object)}, "pictures.npz is damaged"),
        ("pictures.npz", arrays() | {"originals": np.zeros((1, 1, 8, 8), np.uint8)}, "reconstructions have shape"),
        ("comparison.json", b"nope", "comparison.json is damaged"),
        ("comparison.json", b'{"rows": {"a": 1}}', r"rows in comparison\.json is a dict"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, says):
    folder = make_run(tmp_path / "run")
    if isinstance(content, dict):
        np.savez(folder / name, **content)
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(ValueError, match=says):
        report.write(folder, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_wrong_bit_in_the_pictures_is_no_surprise(tmp_path):
    path = make_run(tmp_path / "run") / "pictures.npz"
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for i in rng.integers(0, len(whole), 200):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] if i % 2 else whole[:i])
        # anything but a ValueError fails; a bit in zip's own comments and dates may pass
        with contextlib.suppress(ValueError):
            Pictures.read(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"pictures\.npz is damaged"):
        Pictures.read(path)


def test_a_report_is_of_what_was_written(tmp_path):
    """What the page is made of is verified; the page itself may be changed, deleted and written again."""
    folder = make_run(tmp_path / "run")
    manifest.register(folder, "run.toml", "log.jsonl", "results.json", "pictures.npz")
    out = report.write(folder, folder / "report.html")
    assert set(manifest.files(folder)) == set(folder.iterdir())
    out.write_text("changed")
    report.write(folder, out)
    out.unlink()
    (folder / "pictures.npz").unlink()
    assert "There is no pictures.npz" in Page(report.write(folder, out)).text
    (folder / "results.json").write_text("{}")
    with pytest.raises(ValueError, match=r"results\.json has changed since chartae wrote it"):
        report.write(folder, out)


def test_absent_folders_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone does not exist"):
        report.write(tmp_path / "gone", tmp_path / "r.html")
    with pytest.raises(FileNotFoundError, match=r"neither run\.toml nor comparison\.json"):
        report.write(tmp_path, tmp_path / "r.html")


def test_reports_are_reproducible_and_leave_matplotlib_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    folder = make_run(tmp_path / "run")
    outs = [tmp_path / f"{i}.html" for i in range(2)]
    threads = [threading.Thread(target=report.write, args=(folder, out)) for out in outs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert dict(matplotlib.rcParams) == before


# -- runs on strings ------------------------------------------------------------------------------------------


STRINGS = """
recipe = "grae"
data = "/somewhere/data.smi.gz"
shape = [277]
latent_dim = 56
net = "gru:64"
codec = "{\\"grammar\\": \\"zinc-smiles\\"}"
"""


def of_strings(kind="molecules", **changes):
    """What `evaluate` writes of strings."""

    def scores(valid, unique, novel, **more):
        fixed = {"mean_length": 9.5, "reference_length": 9.1, "length_distance": 0.4, "notes": {}}
        return {"valid": valid, "unique": unique, "novel": novel} | fixed | more

    sets = {
        "prior": scores(0.5, 1.0, 1.0, fcd=31.0, scaffolds=None, notes={"scaffolds": "no scaffold of two rings"}),
        "gmm": scores(1.0, 0.972, 0.244, fcd=5.25, scaffolds=0.4),
        "floor": scores(1.0, 1.0, 0.05, fcd=0.0, scaffolds=1.0),
    }
    if kind != "molecules":
        for row in sets.values():
            del row["fcd"], row["scaffolds"]
    return {
        "protocol": {"valid": kind, "n": 60, "data": "data"},
        "metric": "strings",
        "own": "normal",
        "sets": sets,
        "reconstruction": {"exact": 0.9583, "steps": 0.99996, "nll": 1.25},
        "densities": {"gmm": {"log_likelihood": -8.25}},
        "examples": {"prior": ["C1CC", "", "CCN"], "gmm": ["CCO", "CCO", "c1ccccc1"]},
        "reconstructions": [["CCCCO", "CCCCO"], ["CCCCN", "CCCCS"], ["CCO", "NNNNNNNNNN"]],
        "interpolations": [["CCO", "CCO", "CCN"]],
        "training": {"parameters": 12345, "seconds": 31.2},
    } | changes


def test_a_run_on_strings_is_reported_in_full(tmp_path):
    pytest.importorskip("rdkit")
    folder = make_run(tmp_path / "run", settings=STRINGS, results=of_strings(), pictures={})
    p = page(folder, tmp_path)
    assert (
        "Gaussian mixture: 100 % valid, 97 % unique, 24 % novel, FCD 5.25; "
        "96 % of test strings are reconstructed exactly." in p.text
    )
    for shown in (
        "grae on data.smi.gz", "grammar zinc-smiles", "unique, Gaussian mixture 97.2 %", "FCD, Gaussian mixture 5.25",
        "95.8 % of test strings are reconstructed exactly", "> 99.9 % of steps right",
        "1.25 −log p(x|z), nats per string", "≠ differs",
        "training time 31.2 s", "valid, % ↑", "FCD ↓", "50.0", "RDKit reads it as a molecule", "last: train 30.00",
        "Prior: scaffolds: no scaffold of two rings.", "-8.25", "50.0 % valid, 100 % unique", "= exact",
        "as before", "empty", "/somewhere/data.smi.gz", "n = 60", "lowest FCD",
    ):  # fmt: skip
        assert shown in p.text, shown
    assert "pictures.npz" not in p.text
    assert "Fréchet distance, strings" not in p.text
    assert ", ".join(re.findall("<h2>(.*?)</h2>", p.source)) == (
        "Model and objective, Fit, Density, Samples, Reconstructions, Interpolations, Settings, Protocol"
    )
    # what differs is marked where the two are much alike, and not where all would be
    assert re.findall("<mark>(.*?)</mark>", p.source) == ["N", "S"]
    assert p.source.count('class="pair differs"') == 2
    rows = re.findall(r'<tr class="(.*?)"><th scope="row">([^<]*)', p.source)
    assert [(kind, title.strip()) for kind, title in rows] == [
        ("other", "Test strings (floor)"), ("density", "Prior"), ("density best", "Gaussian mixture")]  # fmt: skip
    # of each column the best density is bold, where they are not alike
    assert re.findall('<td class="top" title="(.*?)"', p.source) == ["1.0", "1.0", "1.0", "5.25"]
    # two curves for both themes; a formula for each string that is shown
    assert len(p.loads) == 2 * 2 + 6 + 6 + 3


def test_strings_without_formulas(tmp_path, monkeypatch):
    own = STRINGS.replace("zinc-smiles", 'mine\\", \\"text\\": \\"S -> <b>')
    texts = {"examples": {"gmm": ["x<b>", "x+1"]}, "reconstructions": [["x+11", "x+12"]], "interpolations": []}
    folder = make_run(tmp_path / "own", settings=own, results=of_strings("mine", **texts), pictures={})
    p = page(folder, tmp_path)
    assert "Gaussian mixture: 100 % valid, 97 % unique, 24 % novel; 96 % of test strings" in p.text
    whole = "a complete string of the grammar mine"
    for shown in (whole, "x<b>", "original reconstruction", "The grammar in full S -> <b>", "≠"):
        assert shown in p.text, shown
    for absent in ("FCD", "SNN", "RDKit", "Interpolations"):
        assert absent not in p.text, absent
    assert len(p.loads) == 2 * 2

    def missing(*args, **kwargs):
        raise ImportError("pictures of molecules need RDKit")

    monkeypatch.setattr("chartae.report.formulas.molecules", missing)
    p = page(make_run(tmp_path / "bare", settings=STRINGS, results=of_strings(), pictures={}), tmp_path)
    assert "Formulas need RDKit" in p.text
    assert "c1ccccc1" in p.text
    assert len(p.loads) == 2 * 2


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ({}, "holds no evaluated sets"),
        (
            {"metric": "strings", "sets": {}, "reconstruction": {"exact": 0.5}},
            "50 % of test strings are reconstructed exactly.",
        ),
        ({"metric": "strings", "sets": {"kde": {"valid": 0.99999}}}, "Kernel density: > 99 % valid."),
        ({"metric": "strings", "sets": {"kde": {"valid": 0.0004, "unique": None}}}, "Kernel density: < 1 % valid."),
        ({"metric": "strings", "sets": {"floor": {"valid": 1.0}, "prior": {}}}, "Prior"),
    ],
)
def test_what_little_there_is_of_strings(tmp_path, results, says):
    assert says in page(make_run(tmp_path / "run", settings=STRINGS, results=results, pictures={}), tmp_path).text


def test_a_run_on_strings_that_is_not_evaluated(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").write_text(STRINGS)
    p = page(tmp_path / "run", tmp_path)
    assert "Not evaluated yet" in p.text
    assert "grae on data.smi.gz" in p.text
    assert "pictures.npz" not in p.text


def test_hostile_strings_stay_text(tmp_path):
    results = of_strings(EVIL)
    results["examples"] = {EVIL: [EVIL, "x" * 10_000]}
    results["reconstructions"], results["interpolations"] = [[EVIL, EVIL + "x"]], [[EVIL] * 3]
    results["sets"]["gmm"]["notes"] = {EVIL: EVIL}
    settings = f"codec = {json.dumps(EVIL)}\ndata = {json.dumps(EVIL)}\n"
    for kind in (EVIL, "molecules"):
        results["protocol"]["valid"] = kind
        p = page(make_run(tmp_path / kind[:3], settings=settings, results=results, pictures={}), tmp_path)
        assert EVIL in p.text
        assert "x" * 500 not in p.source


@pytest.mark.parametrize(
    ("part", "value"),
    [
        *(("examples", {"gmm": "CCO"}), ("examples", {"gmm": [1]}), ("examples", ["CCO"])),
        *(("reconstructions", [["CCO"]]), ("reconstructions", {}), ("reconstructions", {"a": 1})),
        *(("interpolations", [[None]]), ("interpolations", ["CCO"])),
    ],
)
def test_damaged_strings_are_named(tmp_path, part, value):
    folder = make_run(tmp_path / "run", settings=STRINGS, results=of_strings(**{part: value}), pictures={})
    if not value:
        report.write(folder, tmp_path / "r.html")
        return
    with pytest.raises(ValueError, match=rf"{part}.* in results\.json|{part} in results\.json"):
        report.write(folder, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("x", "text"),
    [
        *((12.3, "12.30"), (123.45, "123.5"), (12345.6, "12,346"), (0.01234, "0.0123"), (0.000123, "1.23e-04")),
        *((0.0, "0.0000"), (-8.5, "-8.50"), (7, "7"), (10**400, "not finite"), (float("inf"), "not finite")),
        *((None, "–"), ("x", "x"), (True, "True")),
    ],
)
def test_numbers_as_text(x, text):
    assert number(x) == text
