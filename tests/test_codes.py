"""Data to codes and back: the methods of a run, and the verbs encode, decode, reconstruct, interpolate, traverse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import chartae as ch
from chartae import cli
from chartae.maths.interpolation import slerp

pytestmark = pytest.mark.usefixtures("float32")


def fitted(folder, data, **settings):
    torch.set_default_dtype(torch.float32)
    settings = {
        "recipe": "rae",
        "latent_dim": 3,
        "epochs": 1,
        "densities": (),
        "out": folder,
        "progress": False,
    } | settings
    return ch.fit(settings.pop("recipe"), data, **settings)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("codes") / "pictures", "digits")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    x = np.random.default_rng(0).normal(size=(80, 4)) * [1, 10, 100, 1] + [0, 50, -500, 2]
    np.savetxt(folder / "t.csv", x, delimiter=",", header="a,b,c,d", comments="")
    return fitted(folder / "table", str(folder / "t.csv")), folder / "t.csv", x


@pytest.fixture(scope="module")
def strings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codes")
    (folder / "e.txt").write_text("\n".join(["x", "x+x", "sin(x)", "x*x", "1+x", "exp(x)"] * 8))
    return fitted(folder / "strings", str(folder / "e.txt"), recipe="grae", grammar="expressions", net="gru:8")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    pandas = pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("codes")
    rng = np.random.default_rng(0)
    sex = rng.integers(2, size=90)
    frame = pandas.DataFrame({"sex": sex, "a": rng.normal(size=90) + 5 * sex, "b": rng.normal(size=90)})
    frame.to_csv(folder / "t.csv", index=False)
    return fitted(folder / "run", str(folder / "t.csv"), condition="sex", latent_dim=1), folder / "t.csv", frame


# -- methods -----------------------------------------------------------------------------------------------------------


def test_reconstructions_are_decoded_codes(pictures, strings):
    x = ch.data.load("digits").test[:7]
    assert torch.equal(pictures.reconstruct(x), pictures.decode(pictures.encode(x)))
    texts = ["x+x", "sin(x)"]
    assert strings.reconstruct(texts) == strings.decode(strings.encode(texts))


@pytest.mark.parametrize("how", ["linear", "spherical"])
def test_a_path_has_its_ends_at_the_reconstructions(pictures, how):
    a, b = ch.data.load("digits").test[:1], ch.data.load("digits").test[1:2]
    path = pictures.interpolate(a, b, 5, how=how)
    assert path.shape == (5, 1, 8, 8)
    torch.testing.assert_close(path[:1], pictures.reconstruct(a))
    torch.testing.assert_close(path[-1:], pictures.reconstruct(b))
    za, zb = pictures.encode(a), pictures.encode(b)
    middle = (za + zb) / 2 if how == "linear" else slerp(za, zb, 0.5)
    torch.testing.assert_close(path[2:3], pictures.decode(middle))


def test_axes_are_the_principal_ones(table):
    run, path, _ = table
    codes = run.encode(str(path))
    mean, (_, s, v) = codes.mean(0), torch.linalg.svd(codes - codes.mean(0), full_matrices=False)
    deviation = s / (len(codes) - 1) ** 0.5
    rows = run.traverse(2, 3, span=1.5, codes=codes)
    assert rows.shape == (6, 4)
    torch.testing.assert_close(rows[1::3], run.decode(mean[None]).expand(2, -1), rtol=1e-4, atol=1e-3)
    for k in range(2):
        sign = v[k, v[k].abs().argmax()].sign()
        ends = run.decode(mean + torch.tensor([[-1.5], [1.5]]) * sign * deviation[k] * v[k])
        torch.testing.assert_close(rows[[3 * k, 3 * k + 2]], ends, rtol=1e-3, atol=1e-2)


BAD = [
    (lambda run, x: run.interpolate(x[:2], x[:1]), "a holds 2 examples; expected one"),
    (lambda run, x: run.interpolate(x[:1], x[:1], 1), "steps is 1; expected at least 2"),
    (lambda run, x: run.interpolate(x[:1], x[:1], how="lineal"), "Did you mean 'linear'"),
    (lambda run, x: run.traverse(4, codes=torch.randn(9, 3)), "axes is 4; expected a number from 1 to 3"),
    (lambda run, x: run.traverse(span=0.0, codes=torch.randn(9, 3)), "span is 0.0"),
    (lambda run, x: run.traverse(codes=torch.randn(1, 3)), "expected .N, D., N >= 2"),
    (lambda run, x: run.decode(torch.zeros(2, 4)), r"z has shape \(2, 4\); expected codes of shape \(N, 3\)"),
    (lambda run, x: run.reconstruct(x, condition=3), "this run has none"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments(pictures, call, message):
    with pytest.raises(ValueError, match=message):
        call(pictures, ch.data.load("digits").test)


def test_conditions_of_rows_stand_in_the_frame(conditional):
    run, _, frame = conditional
    given = run.reconstruct(frame.drop(columns="sex"), frame["sex"])
    np.testing.assert_allclose(run.reconstruct(frame), given)
    other = run.reconstruct(frame.drop(columns="sex"), 1 - frame["sex"])
    assert np.abs(np.asarray(other) - np.asarray(given)).max() > 0.01


# -- verbs -------------------------------------------------------------------------------------------------------------


def chartae(*words, status=0):
    assert cli.main([str(word) for word in words]) == status


def test_encode_and_decode_are_those_of_the_run(pictures, table, tmp_path):
    chartae("encode", pictures.folder, "digits", "--out", tmp_path / "z.npy", "--split", "valid", "--n", 9)
    z = np.load(tmp_path / "z.npy")
    np.testing.assert_array_equal(z, pictures.encode(ch.data.load("digits").valid[:9]).numpy())
    chartae("decode", pictures.folder, tmp_path / "z.npy", "--out", tmp_path / "x.npy")
    expected = (pictures.decode(z) * 255).round().byte().numpy()
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), expected)
    run, path, _ = table
    chartae("encode", run.folder, path, "--out", tmp_path / "z.csv")
    head, *rows = (tmp_path / "z.csv").read_text().splitlines()
    assert head == "z1,z2,z3"
    np.testing.assert_allclose(np.loadtxt(rows, delimiter=","), run.encode(str(path)).numpy(), rtol=1e-6)
    chartae("encode", run.folder, path, "--out", tmp_path / "z.npz")
    for name in ("z.csv", "z.npz"):
        chartae("decode", run.folder, tmp_path / name, "--out", tmp_path / "rows.csv")
        head, *rows = (tmp_path / "rows.csv").read_text().splitlines()
        assert head == "a,b,c,d"
        np.testing.assert_allclose(np.loadtxt(rows, delimiter=","), run.reconstruct(str(path)).numpy(), rtol=1e-4)


def test_rows_keep_their_order(table, tmp_path):
    run, path, x = table
    chartae("reconstruct", run.folder, path, "--out", tmp_path / "r.npy")
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), run.reconstruct(x.astype(np.float32)).numpy(), rtol=1e-4)


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def test_pictures_show_pairs_paths_and_axes(pictures, tmp_path, capsys):
    tile = 8 + 2
    chartae("reconstruct", pictures.folder, "digits", "--n", 6, "--out", tmp_path / "pairs.png")
    assert size_of(tmp_path / "pairs.png") == (2 * (6 * tile + 2), 2 * (2 * tile + 2))
    chartae("interpolate", pictures.folder, "digits", "--rows", 0, 3, "--steps", 5, "--out", tmp_path / "path.png")
    assert size_of(tmp_path / "path.png") == (2 * (5 * tile + 2), 2 * (tile + 2))
    chartae("traverse", pictures.folder, "--axes", 2, "--steps", 7)
    assert size_of(pictures.folder / "traversal.png") == (2 * (7 * tile + 2), 2 * (2 * tile + 2))
    assert '"traversal.png"' in (pictures.folder / "manifest.json").read_text()
    assert "2 axes with 7 points each" in capsys.readouterr().err


def test_paths_between_rows_and_files(pictures, tmp_path):
    x = ch.data.load("digits").test
    np.save(tmp_path / "a.npy", x[4:6].numpy())
    np.save(tmp_path / "b.npy", x[9:11].numpy())
    expected = (pictures.interpolate(x[4:5], x[9:10], 4) * 255).round().byte().numpy()
    chartae(
        "interpolate",
        pictures.folder,
        tmp_path / "a.npy",
        tmp_path / "b.npy",
        "--steps",
        4,
        "--out",
        tmp_path / "p.npy",
    )
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected)
    chartae("interpolate", pictures.folder, "digits", "--rows", 4, 9, "--steps", 4, "--out", tmp_path / "q.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy"), expected)
    chartae("interpolate", pictures.folder, "--rows", 4, 9, "--steps", 4, "--out", tmp_path / "r.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "r.npy"), expected)


def test_strings_are_written_as_text(strings, tmp_path):
    chartae("interpolate", strings.folder, "--steps", 4, "--out", tmp_path / "p.txt")
    assert len((tmp_path / "p.txt").read_text().splitlines()) == 4
    chartae("traverse", strings.folder, "--axes", 2, "--steps", 3, "--out", tmp_path / "t.txt")
    assert len((tmp_path / "t.txt").read_text().splitlines()) == 6
    (tmp_path / "new.txt").write_text("x+1\nexp(x)\n")
    chartae("reconstruct", strings.folder, tmp_path / "new.txt", "--out", tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_text().splitlines() == strings.reconstruct(["x+1", "exp(x)"])


def test_conditions_of_a_file_and_of_the_command_line(conditional, tmp_path):
    run, path, frame = conditional
    chartae("encode", run.folder, path, "--out", tmp_path / "z.npy")
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), run.encode(frame).numpy(), rtol=1e-5)
    frame.drop(columns="sex").to_csv(tmp_path / "new.csv", index=False)
    chartae("reconstruct", run.folder, tmp_path / "new.csv", "--condition", 1, "--out", tmp_path / "r.npy")
    expected = run.reconstruct(frame.drop(columns="sex"), 1)
    np.testing.assert_allclose(np.load(tmp_path / "r.npy"), np.asarray(expected), rtol=1e-4)
    chartae("traverse", run.folder, "--condition", 0, "--steps", 3, "--out", tmp_path / "t.csv")
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + 3


REFUSED = [
    (["encode", "{run}", "digits", "--out", "{new}/z.txt"], "expected a name that ends in .npy"),
    (["encode", "{run}", "digits", "--out", "{new}/z.npy", "--split", "tset"], "Did you mean 'test'"),
    (["encode", "{run}", "digits", "--out", "{new}/z.npy", "--n", "0"], "--n is 0; expected at least 1"),
    (["encode", "{run}", "mixture-2d", "--out", "{new}/z.npy"], "expected images"),
    (["encode", "{run}", "nowhere.npy", "--out", "{new}/z.npy"], "nowhere.npy"),
    (["encode", "{run}", "digits", "--out", "{new}/z.npy", "--condition", "3"], "this run has none"),
    (["decode", "{run}", "{wide}", "--out", "{new}/x.png"], "expected codes of shape (N, 3)"),
    (["decode", "{run}", "{nan}", "--out", "{new}/x.png"], "NaN or infinite"),
    (["decode", "{run}", "nowhere.npy", "--out", "{new}/x.png"], "nowhere.npy"),
    (["reconstruct", "{run}", "digits", "--out", "{new}/x.csv"], "use .png or .npy or .npz"),
    (
        ["interpolate", "{run}", "digits", "--rows", "0", "250", "--out", "{new}/x.png"],
        "row 250, but the data have 250",
    ),
    (["interpolate", "{run}", "a", "b", "c", "--out", "{new}/x.png"], "3 data sets are given"),
    (["interpolate", "{run}", "digits", "--how", "cubic", "--out", "{new}/x.png"], "how is 'cubic'"),
    (["interpolate", "{run}", "digits", "--steps", "1", "--out", "{new}/x.png"], "steps is 1"),
    (["traverse", "{run}", "--axes", "9", "--out", "{new}/x.png"], "axes is 9; expected a number from 1 to 3"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_bad_input_is_refused_and_leaves_no_file(pictures, words, message, tmp_path, capsys):
    np.save(tmp_path / "wide.npy", np.zeros((2, 5), np.float32))
    np.save(tmp_path / "nan.npy", np.full((2, 3), np.nan, np.float32))
    before = {path.name for path in pictures.folder.iterdir()}
    places = {
        "run": pictures.folder,
        "new": tmp_path / "new",
        "wide": tmp_path / "wide.npy",
        "nan": tmp_path / "nan.npy",
    }
    chartae(*(word.format(**places) for word in words), status=2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert {path.name for path in pictures.folder.iterdir()} == before


# -- what was read wrongly once ----------------------------------------------------------------------------------------


def encoded(run, path, folder):
    chartae("encode", run.folder, path, "--out", folder / "z.npy")
    return np.load(folder / "z.npy")


def test_the_column_of_strings_is_that_of_the_fit(tmp_path):
    strings = ["x", "x+x", "sin(x)", "x*x", "1+x", "exp(x)"] * 6
    (tmp_path / "s.csv").write_text("x,e\n" + "".join(f"1,{text}\n" for text in strings))
    run = fitted(tmp_path / "r", str(tmp_path / "s.csv"), recipe="grae", grammar="expressions", column="e", net="gru:8")
    np.testing.assert_allclose(encoded(run, tmp_path / "s.csv", tmp_path), run.encode(strings).numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["mixture-1d", "ring", "fashion-mini", "digits+coloured"])
def test_named_data_of_another_shape_are_refused(pictures, table, name, tmp_path, capsys):
    for run in (pictures, table[0]):
        for verb in ("encode", "reconstruct"):
            chartae(verb, run.folder, name, "--out", tmp_path / "z.npy", status=2)
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "z.npy").exists()


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("sex;a;b\n" + "".join(f"{i % 2};{i * 0.1};{-i}\n" for i in range(60)), "sex"),
        ("sex,a,b\n" + "".join(f"{i % 2 > 0},{i * 0.1},{-i}\n" for i in range(60)), "sex"),
        ("label,a,b\n" + "".join(f"{('u', 'x')[i % 2]},{i * 0.1},{-i}\n" for i in range(60)), "labels"),
        (",sex,a,b\n" + "".join(f"{i},{i % 2},{i * 0.1},{-i}\n" for i in range(60)), "sex"),
    ],
    ids=["semicolons", "truth values", "labels", "an index"],
)
def test_a_conditional_run_reads_its_own_file(text, condition, tmp_path):
    (tmp_path / "t.csv").write_text(text)
    run = fitted(tmp_path / "r", str(tmp_path / "t.csv"), condition=condition, latent_dim=1)
    i = np.arange(60)
    values = np.array(["u", "x"])[i % 2] if condition == "labels" else i % 2
    expected = run.encode(np.stack([i * 0.1, -i], 1).astype(np.float32), values)
    np.testing.assert_allclose(encoded(run, tmp_path / "t.csv", tmp_path), expected.numpy(), rtol=1e-4, atol=1e-5)
    # the condition on the command line counts, and the columns of the file are left out
    if condition == "sex":
        chartae("encode", run.folder, tmp_path / "t.csv", "--condition", 1, "--out", tmp_path / "one.npy")
        one = run.encode(np.stack([i * 0.1, -i], 1).astype(np.float32), 1)
        np.testing.assert_allclose(np.load(tmp_path / "one.npy"), one.numpy(), rtol=1e-4, atol=1e-5)


def test_a_folder_that_was_resized_is_resized_again(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "p").mkdir()
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (9 + i % 3, 8), np.uint8)).save(tmp_path / "p" / f"{i:02}.png")
    run = fitted(tmp_path / "r", str(tmp_path / "p"), size=8)
    assert encoded(run, tmp_path / "p", tmp_path).shape == (30, 3)


def test_codes_of_a_table_are_taken_by_name(table, tmp_path, capsys):
    run, path, _ = table
    chartae("encode", run.folder, path, "--out", tmp_path / "z.csv")
    head, *rows = (tmp_path / "z.csv").read_text().splitlines()
    turned = [",".join(reversed(row.split(","))) for row in (head, *rows)]
    (tmp_path / "turned.csv").write_text("\n".join(turned) + "\n")
    for name in ("z", "turned"):
        chartae("decode", run.folder, tmp_path / f"{name}.csv", "--out", tmp_path / f"{name}.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), np.load(tmp_path / "turned.npy"))
    (tmp_path / "other.csv").write_text("\n".join(["a,b,c", *rows]))
    chartae("decode", run.folder, tmp_path / "other.csv", "--out", tmp_path / "x.npy", status=2)
    assert "expected z1, z2, z3" in capsys.readouterr().err


def test_codes_in_the_run_folder_belong_to_the_run(table, capsys):
    run, path, _ = table
    chartae("encode", run.folder, path, "--out", run.folder / "codes.npy")
    assert '"codes.npy"' in (run.folder / "manifest.json").read_text()
    chartae("encode", run.folder, path, "--out", run.folder / "pictures.npz", status=2)
    assert "a file of the run itself" in capsys.readouterr().err


def test_interpolate_takes_the_first_rows_only(pictures, capsys):
    chartae("interpolate", pictures.folder, "--n", 2, "--rows", 3, 9, "--out", "x.png", status=2)
    assert "row 3, but the data have 2" in capsys.readouterr().err
    chartae("interpolate", pictures.folder, "--n", -5, "--out", "x.png", status=2)


def test_a_dry_run_refuses_what_a_fit_refuses(table, tmp_path, capsys):
    run, path, _ = table
    words = ["fit", path, "--recipe", "rae", "--latent-dim", "3", "--epochs", "1", "--densities", "normal", "--dry-run"]
    before = sorted(run.folder.iterdir())
    for more in (["--out", run.folder], ["--out", path], ["--out", run.folder, "--resume", "--latent-dim", "1"]):
        chartae(*words, *more, status=2)
    assert sorted(run.folder.iterdir()) == before
    chartae(*words, "--patience", 3)
    capsys.readouterr()
    for recipe in ("cae", "aae"):
        chartae("fit", "digits", "--recipe", recipe, "--epochs", 1, "--dry-run", "--json")
        estimate = json.loads(capsys.readouterr().out)
        built = fitted(tmp_path / recipe, "digits", recipe=recipe, latent_dim=None)
        assert estimate["parameters"] == built.training()["parameters"]
        assert min(estimate["parts"].values()) > 0


@pytest.mark.parametrize("check", ["mse=>0", "mse =< 0", "mse<=nan", "mse<=inf", "mse", "<=3", "mse<=3<=4"])
def test_a_check_that_is_none_is_refused_at_once(check, pictures, capsys):
    chartae("evaluate", pictures.folder, "--check", check, status=2)
    assert not (pictures.folder / "results.json").exists()
    assert "expected a name of the results" in capsys.readouterr().err


def test_a_run_reads_a_path_in_python_as_on_the_command_line(conditional, table, tmp_path):
    run, path, frame = conditional
    np.testing.assert_allclose(run.encode(str(path)).numpy(), run.encode(frame).numpy(), rtol=1e-5)
    # values that are given count, and the columns of the condition never belong to the examples
    one = run.encode(frame.drop(columns="sex"), 1).numpy()
    np.testing.assert_allclose(run.encode(frame, 1).numpy(), one, rtol=1e-5)
    np.testing.assert_allclose(run.encode(path, 1).numpy(), one, rtol=1e-5)
    strings = ["x", "x+x", "sin(x)", "x*x", "1+x", "exp(x)"] * 6
    (tmp_path / "s.csv").write_text("x,e\n" + "".join(f"1,{text}\n" for text in strings))
    words = {"recipe": "grae", "grammar": "expressions", "column": "e", "net": "gru:8"}
    texts = fitted(tmp_path / "r", str(tmp_path / "s.csv"), **words)
    np.testing.assert_allclose(texts.encode(tmp_path / "s.csv").numpy(), texts.encode(strings).numpy(), rtol=1e-5)
    with pytest.raises(ValueError, match=r"has no sex; expected sex .2 classes.*Give the condition"):
        run.encode(table[1])
