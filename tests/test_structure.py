"""The house keeps its bounds (tools/house.py measures them), and the measures count what they say."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tools import house
from tools.house import House

ROOT = Path(__file__).parents[1]
BOUNDED = [
    "top", "circles", "upward", "branches", "literals", "function", "parameters", "any", "ours", "others", "init",
    "repeated",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return {row.key: row for row in house.measures(House(ROOT))}


def test_every_bound_is_tested(rows):
    assert [key for key, row in rows.items() if row.bound is not None] == BOUNDED


@pytest.mark.parametrize("key", BOUNDED)
def test_the_house_keeps_its_bounds(rows, key):
    row = rows[key]
    if row.broken:
        offences = "\n".join(map(str, row.offences))
        pytest.fail(f"{row.title}: {row.value}, not <= {row.bound}:\n{offences}", pytrace=False)


#: calls that run code of a file
RUNNING = {
    "eval", "exec", "compile", "__import__", "torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "joblib.load", "pandas.read_pickle", "pd.read_pickle", "yaml.load", "marshal.load", "marshal.loads",
    "runpy.run_path", "torch.jit.load", "torch.hub.load", "os.system",
}  # fmt: skip


def test_no_file_is_unpickled_or_run():
    """SECURITY.md promises it; `numpy.load` unpickles unless told not to."""
    faults = []
    for path in sorted((ROOT / "src" / "chartae").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name, keywords = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            loads = name in ("np.load", "numpy.load") and keywords.get("allow_pickle") != "False"
            if loads or name in RUNNING or keywords.get("shell") == "True":
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert not faults


# what the measures count, on small sources


RECIPES = {
    "recipes/__init__.py": "from chartae.recipes.table import OF_CODES\n",
    "recipes/table.py": "RECIPES = {'rae': 1, 'cvae': 2}\nOF_CODES = ('cvae',)\nSLOW = {*OF_CODES, 'rae'}\n",
    "recipes/new.py": "@recipe('toy', lr=1e-3)\ndef toy(): ...\n\n@recipe(name='toy-2')\ndef toy_2(): ...\n",
}


@pytest.fixture
def build(tmp_path):
    """A checkout with these files, by their paths under src/chartae; those of papers/ are beside it."""

    def write(files):
        for name, text in files.items():
            path = (tmp_path if name.startswith("papers/") else tmp_path / "src" / "chartae") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return House(tmp_path)

    return write


def lines(offences):
    return [(o.path.removeprefix("src/chartae/"), o.line) for o in offences]


def test_recipes_are_read_from_the_table_and_from_decorators(build):
    assert build(RECIPES).recipes == {"rae", "cvae", "toy", "toy-2"}
    assert build(RECIPES).name_tables == {("chartae.recipes.table", "OF_CODES"), ("chartae.recipes.table", "SLOW")}
    assert list(house.branches(build(RECIPES))) == list(house.recipe_literals(build(RECIPES))) == []


def test_recipes_that_cannot_be_read_are_an_error(build):
    with pytest.raises(ValueError, match="names no recipe"):
        _ = build({"recipes/table.py": "table = register()\n"}).recipes


@pytest.mark.parametrize(
    "code",
    [
        "if name == 'rae': ...",
        "x = 1 if name in ('toy-2', 'other') else 2",
        "x = name not in {'a', *OF_CODES}",
        "x = name in set(SLOW)",
        "x = name in SLOWER",
        "x = name in recipes.OF_CODES",
        "x = name in (*recipes.table.SLOW, 'a')",
        "x = [n for n in names if n != 'cvae']",
        "match name:\n    case 'x' | 'toy': ...",
        "x = {'rae': 1, 'z': 2}",
        "x = dict(rae=1)",
        "x = scores['cvae']",
        "x = SLOW['b']",
        "x = SLOW.get(name)",
        "x = name.startswith('toy')",
        "x = name.startswith(('toy', 'b'))",
        "x = run.settings.recipe.startswith('g')",
        "x = recipe.split('-')",
        "x = 'cluster' in run.recipe",
        "x = paper_lr(name, data)",
        "x = name in OF_WHATEVER",
        "HERE = ('rae',)\nx = name in HERE",
        "if run.settings.codec: ...",
        "if not data.codec: ...",
        "x = data.codec is not None",
        "x = 1 if codec is None else 2",
        "while a and run.codec: ...",
        "x = [d for d in ds if d.codec]",
        "assert run.codec",
        "x = bool(settings.get('codec'))",
        "x = settings['codec'] or ''",
        "x = 'codec' in settings",
        "if (c := run.codec): ...",
        "x = getattr(run, 'codec', None) is None",
        "x = hasattr(run, 'codec')",
        "x = isinstance(data.codec, Codec)",
        "x = settings.codec == ''",
        "match run.codec:\n    case None: ...",
    ],
)
def test_branches_are_counted(build, code):
    head = "from chartae.recipes import OF_CODES\nfrom chartae.recipes.table import SLOW, SLOW as SLOWER\n"
    head += "from chartae import recipes\n"
    offences = house.branches(build(RECIPES | {"runs/a.py": head + code + "\n"}))
    assert len(list(offences)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "if kind == 'mean': ...",
        "x = name in RECIPES",
        "x = RECIPES[name]",
        "x = f('rae')",
        "x = {'z': 'rae'}",
        "x = 'raes' == name",
        "x = ', '.join(OF_CODES)",
        "x = run.recipe == other.recipe",
        "x = word.split('-')",
        "x = name in SLOW",  # another SLOW, of its own making
        "x = encode(run.codec)",
        "if codec.masks is None: ...",
        "if run.decoder.has_density: ...",
        "x = run.codec == other.codec",
        "'''if name == 'rae': if codec: ...'''",
        "# if name == 'rae'",
    ],
)
def test_other_code_is_no_branch(build, code):
    files = {"runs/a.py": "SLOW = ('a', 'b')\n" + code + "\n", "grammar/b.py": "if codec is None: ...\n"}
    assert list(house.branches(build(RECIPES | files))) == []


def test_a_branch_is_counted_where_it_stands_and_once(build):
    files = {"a.py": "x = 1\nif run.codec and name == 'rae' and name not in ('toy',):\n    y = name == 'cvae'\n"}
    assert lines(house.branches(build(RECIPES | files))) == [("a.py", 2), ("a.py", 2), ("a.py", 2), ("a.py", 3)]


def test_names_of_recipes_as_strings(build):
    demo = "class Demo:\n    recipes = ('rae', 'toy')\n\nclass Fit:\n    recipe: str = 'rae'\n\nDEMO = ['toy']\n"
    files = {
        "cli/main.py": demo,
        "runs/a.py": '"""rae"""\n\ndef f(x="toy"):\n    """toy"""\n    return ["cvae", "rae and more", f"rae{x}"]\n',
        "runs/b.py": "DEMO = ['toy']\n",
    }
    assert lines(house.recipe_literals(build(RECIPES | files))) == [
        ("cli/main.py", 5),
        ("runs/a.py", 3),
        ("runs/a.py", 5),
        ("runs/a.py", 5),
        ("runs/b.py", 1),
    ]


def test_circles(build):
    circle = build({
        "__init__.py": "from chartae.a import x\n",
        "a.py": "from chartae import b\n",
        "b.py": "def f():\n    from chartae.c import y\n",
        "c.py": "\nfrom . import a\n",
        "d.py": "from chartae.a import x\nimport chartae.d\n",
    })  # fmt: skip
    (offence,) = house.circles(circle)
    assert offence.text == "import cycle of chartae.a, chartae.b, chartae.c"
    (circle.root / "src" / "chartae" / "c.py").write_text("from chartae import x\n")
    assert list(house.circles(House(circle.root))) == []


def test_upward_imports(build):
    files = {
        "maths/a.py": "from chartae.nn import b\nimport numpy\n",
        "nn/b.py": "from chartae.maths.a import x\nfrom ..data import y\n",
        "samplers/c.py": "from chartae.diagnostics import x\n",
        "densities/d.py": "from chartae import terms, training\nimport chartae.maths\n",
        "runs/e.py": "import importlib\nimportlib.import_module('chartae.cli.main')\nimport chartae\n",
        "cli/f.py": "import chartae\n",
        "shed/g.py": "",
        "__main__.py": "from chartae.cli import main\n",
    }
    made = build(files)
    offences = [offence for source in made.package for offence in house.upward_imports(made, source)]
    assert [(*place, o.text) for place, o in zip(lines(offences), offences, strict=True)] == [
        ("densities/d.py", 1, "densities must never import terms"),
        ("maths/a.py", 1, "maths imports nn, which is not in a lower layer"),
        ("nn/b.py", 2, "nn imports data, which is not in a lower layer"),
        ("runs/e.py", 3, "runs imports chartae, which is in no layer"),
        ("runs/e.py", 2, "runs imports cli, which is not in a lower layer"),
        ("samplers/c.py", 1, "samplers imports diagnostics, which is not in a lower layer"),
        ("shed/g.py", 1, "shed is in no layer; add it to LAYERS in tools/house.py"),
    ]


def test_our_private_names(build):
    files = {
        "a/b.py": "def _f(): ...\n\ndef g(): return _f()\n",
        "a/c.py": "from chartae.a.b import _f, g\nfrom chartae.a import b\nb._f()\nb.__doc__\ng._x\n",
        "a/_d.py": "",
        "e.py": "from .a._d import x\nfrom chartae import __version__\n",
        "papers/f.py": "from chartae.a.b import _f as f\n",
    }
    assert lines(house.private_imports(build(files))) == [("a/c.py", 1), ("a/c.py", 3), ("e.py", 1), ("papers/f.py", 1)]


def test_private_names_of_others(build):
    others = (
        "import torch\nfrom accelerate.state import AcceleratorState as State\nfrom torch._C import x\n"
        "from re import _parser\ntorch._C._functorch.f()\nState._reset_state()\nhasattr(torch.ops.mkldnn, '_linear')\n"
        "layer._flat_weights\ntorch._mine\n"
    )
    ours = "class A:\n    def __init__(self, row):\n        self._mine = row._asdict()\n\n    def f(self): A.__name__\n"
    files = {"a.py": others, "b.py": ours, "c.py": "a = A()\na._mine\n", "maths/private.py": others}
    expected = [3, 4, 5, 5, 6, 7, 8, 9]
    assert sorted(lines(house.foreign_privates(build(files)))) == [("a.py", line) for line in expected]


def test_length_of_functions(build):
    code = 'class A:\n    @property\n    def f(\n        self,\n    ):\n        """Two\n        lines."""\n'
    code += "\n        return 1\n\n\ndef g():\n    def h():\n        ...\n"
    sizes = {offence.text.split()[0]: size for size, offence in house.function_lines(build({"a.py": code}))}
    assert sizes == {"A.f": 5, "g": 3, "g.h": 2}


def test_parameters(build):
    wide = ", ".join(f"p{i}" for i in range(20))
    files = {
        "a.py": "class A:\n    def f(self, a, /, b, *c, d=1, **e): ...\n\n    @staticmethod\n    def g(a): ...\n",
        "b.py": "def h(a): ...\n",
        "runs/fitting.py": f"def fit({wide}): ...\n\ndef other({wide}): ...\n",
        "estimator/generative.py": f"class GenerativeAutoencoder:\n    def __init__(self, {wide}): ...\n",
    }
    counts = {offence.text.split()[0]: count for count, offence in house.parameters(build(files))}
    assert counts == {"A.f": 5, "A.g": 1, "h": 1, "other": 20}


def test_untyped_lines(build):
    code = """
        from typing import Any, TypeAlias  # 1
        Rows = list[dict[str, Any]]  # 2
        Free: TypeAlias = Any  # 3
        Loose = dict[str, object]  # 4
        a: dict = {}  # 5
        b: list[dict[str, int]] = list()
        def f(x: dict[str, object], y: "Any", *z: tuple) -> list[tuple] | None:  # 7
            return dict(x)
        def g(x: Free, y: Float[Tensor, "list Any"], z: type[int]):  # 9
            '''Any dict.'''
        def h(x: Loose, y: "tuple") -> object: ...  # 11
        c: Callable[[list], int] = f  # 12
        d: dict[str, int] | tuple[int, ...] = f  # Any
        g: Pairs = []  # 14
        Pairs = dict[str, Any]  # 15
        e = "Any"
    """
    text = "\n".join(line.removeprefix("        ") for line in code.strip().splitlines()) + "\n"
    expected = [n for n, line in enumerate(text.splitlines(), 1) if line.endswith(f"# {n}")]
    assert expected == [1, 2, 3, 4, 5, 7, 9, 11, 12, 14, 15]
    use = "from chartae.a import Loose\n\nx: Loose = {}\ny: Pairs = []\n"  # another Pairs
    other = build({"a.py": text, "b.py": use})
    assert lines(house.untyped(other)) == [*(("a.py", line) for line in expected), ("b.py", 1), ("b.py", 3)]


def test_repeated_windows(build):
    part = [f"    x{i} = {i}" for i in range(7)]
    first = "import os\n" + "\n".join(part) + "\n"  # two windows
    second = (
        "\n\n".join(["# a comment", "y = 1", *(line.strip() for line in part)]) + "\n"
    )  # three, two of them the same
    share, offences = house.repeated(build({"a.py": first.replace("    ", ""), "papers/b.py": second}))
    assert share == pytest.approx(100 * 4 / 5)
    assert lines(offences) == [("papers/b.py", 5), ("papers/b.py", 7), ("a.py", 2), ("a.py", 3)]
    share, _ = house.repeated(build({"papers/b.py": second.replace("x3", "z")}))
    assert share == 0


def test_lines_of_code(build):
    code = '"""Doc\nstring."""\n\nimport os  # a comment\n\n# another\nx = """two\nlines"""\n'
    code += 'y = [\n    1,\n\n]\n"""Of y."""\n'
    (source,) = build({"a.py": code}).package
    assert house.code_lines(source) == 6


def test_names_at_the_top(build):
    made = build({"__init__.py": "", "__main__.py": "", "a.py": "", "nn/b.py": "", "nn/c.py": "", "papers/d.py": ""})
    (made.root / "src" / "chartae" / "__pycache__").mkdir()
    (made.root / "src" / "chartae" / "py.typed").touch()
    assert [offence.text for offence in house.top_names(made)] == ["__init__", "__main__", "a", "nn"]


def test_logic_in_init_files(build):
    lazy = "import importlib\n_HOME = {}\n__all__ = []\n\ndef __getattr__(name): ...\n\ndef __dir__(): ...\n"
    plain = '"""Doc."""\n\nif TYPE_CHECKING:\n    import a\nfrom a import b\n\n__all__ = ["b"]\n__all__ += ["c"]\n'
    files = {
        "__init__.py": lazy,
        "a/__init__.py": plain,
        "b/__init__.py": plain + "X = 1\n" + lazy,
        "b/c.py": "X = 1\n",
    }
    expected = [("b/__init__.py", line) for line in (9, 11, 14, 16)]
    assert lines(house.init_logic(build(files))) == expected
    top = build({"__init__.py": lazy + "VERSION = 1\n\ndef f(): ...\n", "b/__init__.py": ""})
    assert lines(house.init_logic(top)) == [("__init__.py", 8), ("__init__.py", 10)]


def test_the_script(build, capsys):
    made = build(RECIPES | {"runs/a.py": "x = name == 'rae'\n"})
    page = made.root / "CONTRIBUTING.md"
    page.write_text(f"Before\n{house.OPEN}\nold\n{house.CLOSE}\nAfter\n")
    assert house.main(["--root", str(made.root), "--write"]) == 0
    assert (
        "| branches on a recipe's name or codec outside `recipes/` | 58 | **1** | 0 |" in page.read_text().splitlines()
    )
    assert page.read_text().startswith(f"Before\n{house.OPEN}\n\n| measure |")
    assert page.read_text().endswith(f"|\n\n{house.CLOSE}\nAfter\n")
    capsys.readouterr()
    assert house.main(["--root", str(made.root), "--check"]) == 1
    assert "  src/chartae/runs/a.py:1: x = name == 'rae'" in capsys.readouterr().out.splitlines()
    assert house.main(["--root", str(made.root), "--json", "-v"]) == 0
    by_key = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert by_key["branches"]["value"] == 1
    assert by_key["branches"]["broken"]
    assert by_key["function"] | {"offences": 0} == {
        "key": "function", "title": "longest function, without its docstring", "value": 1, "wanted": 80,
        "note": "toy_2", "broken": False, "offences": 0,
    }  # fmt: skip
    made = build({"runs/a.py": "x = name\n", "recipes/__init__.py": ""})
    assert house.main(["--root", str(made.root), "--check"]) == 0
    page.write_text("no place")
    with pytest.raises(ValueError, match="has no place for the table"):
        house.main(["--root", str(made.root), "--write"])
