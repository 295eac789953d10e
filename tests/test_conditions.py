"""Conditions: how values are read, and the nets and critics that take them."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from chartae.data.conditions import Categories, Condition, Covariate
from chartae.maths import critic_loss, gradient_penalty, logits_of, penalised_logits
from chartae.nn import ConditionedDecoder, ConditionedEncoder, Critic, critic, sequence_encoder

BOOTS = ("T-shirt", "Trouser", "Ankle boot")
LABELS = torch.tensor([2, 0, 1, 2])
TABLE = {"class": [3, 1, 3], "smokes": [True, False, True], "age": [40.0, 20.0, 60.0]}


def of_labels(**options):
    return Condition.of(LABELS, names=["class"], **options)


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        (LABELS, (Categories("condition", (0, 1, 2)),)),
        (LABELS[:, None], (Categories("condition", (0, 1, 2)),)),
        (["b", "a", "b"], (Categories("condition", ("a", "b")),)),
        (np.array(["b", "a", "b"]), (Categories("condition", ("a", "b")),)),
        (np.array([b"b", b"a"]), (Categories("condition", ("a", "b")),)),
        ([True, False], (Categories("condition", (False, True)),)),
        ([1.0, 3.0], (Covariate("condition", 2.0, 1.0),)),
        (range(101), (Covariate("condition", 50.0, float(np.std(range(101)))),)),
        (np.array([[1.0, 5.0], [3.0, 9.0]]), (Covariate("condition1", 2.0, 1.0), Covariate("condition2", 7.0, 2.0))),
        ([("a", 1.0), ("b", 3.0)], (Categories("condition1", ("a", "b")), Covariate("condition2", 2.0, 1.0))),
        (pd.Series([7, 9], dtype="Int64"), (Categories("condition", (7, 9)),)),
        (pd.Series(["x", "y"], dtype="category"), (Categories("condition", ("x", "y")),)),
        (pd.DataFrame({"a": ["x", "y"], 0: [1.5, 2.5]}), (Categories("a", ("x", "y")), Covariate("0", 2.0, 0.5))),
        (
            TABLE,
            (
                Categories("class", (1, 3)),
                Categories("smokes", (False, True)),
                Covariate("age", 40.0, float(np.std([40, 20, 60]))),
            ),
        ),
    ],
)
def test_columns_are_read_by_their_values(values, columns):
    condition = Condition.of(values)
    assert condition.columns == columns
    assert Condition.from_dict(json.loads(json.dumps(condition.to_dict()))) == condition


def test_the_caller_may_say_what_is_categorical():
    ages = {"class": [3.0, 1.0], "age": [40, 41]}
    condition = Condition.of(ages, categorical=["class"])
    assert condition.columns == (Categories("class", (1, 3)), Covariate("age", 40.5, 0.5))
    named = Condition.of(ages, classes={"class": ["a", "b", "c", "d"]}, categorical=["class"])
    assert named.categories[0].names == ("b", "d")


@pytest.mark.parametrize(
    ("value", "label"),
    [(2, 2), ("2", 2), (2.0, 2), (torch.tensor(2), 2), (np.int64(2), 2), ("Ankle boot", 2), ("ankle BOOT", 2),
     ("class=Ankle boot", 2), ({"class": "Trouser"}, 1), ([0], 0), (pd.DataFrame({"class": ["T-shirt"]}), 0)],
)  # fmt: skip
def test_a_class_has_many_spellings(value, label):
    condition = of_labels(classes=BOOTS)
    assert torch.equal(condition.read(value, 1), torch.eye(3)[[label]])


def test_text_is_a_name_before_it_is_a_number():
    condition = of_labels(classes=("10", "2", "0"))
    assert condition.read(["10", "2", "0", 0, 1, 2, 10], 7).argmax(1).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_one_hot_there_and_back():
    condition = of_labels(classes=BOOTS)
    hot = condition.read(LABELS, 4)
    assert torch.equal(hot, nn.functional.one_hot(LABELS, 3).to(hot.dtype))
    assert condition.restore(hot) == {"class": LABELS.tolist()}
    assert condition.entries == ("class=T-shirt", "class=Trouser", "class=Ankle boot")


def test_one_hot_blocks_stand_before_standardised_columns():
    condition = Condition.of({"age": TABLE["age"], "class": TABLE["class"], "smokes": TABLE["smokes"]})
    assert (condition.names, condition.size, condition.discrete) == (("age", "class", "smokes"), 5, 4)
    read = condition.read(pd.DataFrame(TABLE), 3)
    assert read.dtype == torch.get_default_dtype()
    assert read[:, :4].tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert torch.allclose(read[:, 4].mean(), torch.tensor(0.0))
    assert torch.allclose(read[:, 4].std(correction=0), torch.tensor(1.0))
    back = condition.restore(read)
    assert back["class"] == TABLE["class"]
    assert back["smokes"] == TABLE["smokes"]
    assert back["age"] == pytest.approx(TABLE["age"])
    for text in ("class=3,smokes=true,age=40", " age = 40 , smokes=True,class= 3", condition.example):
        assert condition.read(text, 2).shape == (2, 5)
    one = condition.read("class=3,smokes=true,age=40", 1)
    assert torch.equal(one[0], read[0])
    assert torch.equal(condition.read({"class": [3, 1, 3], "smokes": True, "age": 40}, 3)[0], read[0])
    assert torch.equal(condition.read([(40, 3, True)], 1), one)


def test_a_name_may_hold_a_comma_and_an_equals_sign():
    condition = Condition.of({"kind": ["a, b=1", "c"], "age": [1.0, 2.0]})
    assert condition.read("kind=a, b=1,age=1", 1)[0].tolist() == [1, 0, -1]


def test_a_condition_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        of_labels().columns = ()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda c: c.read([1, 2], 5), ValueError, "has 2 values; expected one for all 5 rows, or 5"),
        (lambda c: c.read([1], 5), ValueError, "has 1 value; expected one for all 5"),
        (lambda c: c.read("Ankel boot", 1), ValueError, "T-shirt, Trouser, Ankle boot. Did you mean 'Ankle boot'?"),
        (lambda c: c.read(7, 1), ValueError, "condition is 7; expected a class of 'class'"),
        (lambda c: c.read([0, -1], 2), ValueError, r"-1, an unknown label in 1 of 2 rows \(first: row 1\)"),
        (lambda c: c.read("-1", 2), ValueError, "-1, an unknown label; expected a known class"),
        (lambda c: c.read(math.nan, 2), ValueError, r"'class' is missing \(NaN or empty\); expected"),
        (lambda c: c.read(["2", ""], 2), ValueError, r"missing \(NaN or empty\) in 1 of 2 rows \(first: row 1\)"),
        (lambda c: c.read([pd.NA, 1], 2), ValueError, "is missing"),
        (lambda c: c.read(1.5, 2), ValueError, "holds 1.5; expected a class"),
        (lambda c: c.read(None, 2), ValueError, r"condition is None; expected class \(3 classes\)"),
        (lambda c: c.read({"clas": 1}, 2), ValueError, "names a column 'clas'; expected class. Did you mean 'class'?"),
        (lambda c: c.read({}, 2), ValueError, "has no column 'class'; expected class. Give each a value, such as '0'"),
        (lambda c: c.read(torch.zeros(2, 3), 2), ValueError, r"has shape \(2, 3\); expected 1 column: class"),
        (lambda c: c.read([[1, 2], [1]], 2), TypeError, "holds list; expected numbers"),
        (lambda c: c.read(object(), 2), TypeError, "holds object; expected numbers, booleans or text"),
        (lambda c: c.read(np.datetime64("2020-01-01"), 2), TypeError, "has dtype datetime64"),
        (lambda c: Condition.of(TABLE).read("class=3,age=40", 2), ValueError, "has no column 'smokes'"),
        (lambda c: Condition.of(TABLE).read("3", 2), ValueError, "is '3'; expected a value for each of class, smokes"),
        (lambda c: Condition.of(TABLE).read(3, 2), ValueError, r"has shape \(\); expected 3 columns"),
        (lambda c: Condition.of(TABLE).read("class=3,class=1", 2), ValueError, "one value for each column"),
        (lambda c: Condition.of([1.5, 2.5]).read("old", 1), ValueError, "is 'old'; expected a number"),
        (lambda c: Condition.of([1.5, 2.5]).read(math.inf, 1), ValueError, "expected a finite number"),
        (lambda c: Condition.of([0, -1, 1]), ValueError, "unknown label"),
        (lambda c: Condition.of(["a", None]), ValueError, "is missing"),
        (lambda c: Condition.of([1.5, math.nan]), ValueError, "is missing"),
        (lambda c: Condition.of(["a", 1]), TypeError, "mixes text and numbers"),
        (lambda c: Condition.of([1j, 2j]), TypeError, "holds complex"),
        (lambda c: Condition.of([5, 5]), ValueError, "has one class, 5; expected at least 2"),
        (lambda c: Condition.of([1.5, 1.5]), ValueError, "is 1.5 in all 2 rows; expected values that vary"),
        (lambda c: Condition.of([str(k) for k in range(1001)]), ValueError, "has 1001 classes; expected at most 1000"),
        (lambda c: Condition.of([]), ValueError, r"has shape \(0,\)"),
        (lambda c: Condition.of({}), ValueError, "has no columns"),
        (lambda c: Condition.of({"a": [1, 2], "b": [1, 2, 3]}), ValueError, r"different lengths \(a: 2, b: 3\)"),
        (lambda c: Condition.of([1, 2], names=["a", "b"]), ValueError, "different name for each .* there are 1"),
        (lambda c: Condition.of({"a": [1, 2]}, categorical=["b"]), ValueError, "categorical names a column 'b'"),
        (lambda c: Condition.of([1, 2], classes=["a", "b"]), ValueError, "holds 2; expected .* as classes has 2 names"),
        (lambda c: Condition.of(TABLE, classes=["a", "b"]), ValueError, "2 columns are categorical"),
        (lambda c: Condition.from_dict({"columns": [{"name": "a"}]}), ValueError, "has a column 'a' with"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(call, error, message):
    with pytest.raises(error, match=message):
        call(of_labels(classes=BOOTS))


# -- nets --------------------------------------------------------------------------------------------------------------


def test_encoder_and_decoder_depend_on_the_condition():
    hot = torch.eye(3)[[0, 1, 2, 0]]
    encoder = ConditionedEncoder(nn.Linear(7, 16), 16, size=3, out=2)
    decoder = ConditionedDecoder(nn.Linear(2 + 3, 7))
    for net, c in ((encoder, torch.randn(1, 7).expand(4, 7)), (decoder, torch.randn(1, 2).expand(4, 2))):
        out = net(c, hot)
        assert torch.allclose(out[0], out[3])
        assert (out[0] - out[1]).abs().max() > 1e-3
        out.sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
        assert net(c, hot.to(torch.float32)).dtype == out.dtype
        for wrong, shown in ((None, "None"), (hot[:2], r"of shape \(2, 3\)"), (hot[0], r"of shape \(3,\)")):
            with pytest.raises(ValueError, match=rf"condition is {shown}"):
                net(c, wrong)


def test_what_a_condition_does_depends_on_x():
    """The head is no sum of a part of x and a part of the condition."""
    encoder = ConditionedEncoder(nn.Linear(7, 16), 16, size=2, out=1)
    a, b = torch.randn(2, 1, 7)
    zero, one = torch.eye(2)[:1], torch.eye(2)[1:]
    change = (encoder(a, one) - encoder(a, zero)) - (encoder(b, one) - encoder(b, zero))
    assert change.abs().item() > 1e-4


def test_the_condition_joins_nets_of_sequences_as_well():
    trunk = sequence_encoder("gru", 5, 0, (12,), 16)
    net = ConditionedEncoder(trunk, 16, size=3, out=4)
    x = torch.randint(5, (6, 12)).to(torch.get_default_dtype())
    assert net(x, torch.eye(3).repeat(2, 1)).shape == (6, 4)


# -- critics -----------------------------------------------------------------------------------------------------------


class Quadratic(nn.Module):
    """T(x, z | c) = c (x^2 + 3 z): slopes 2 c x and 3 c, and x^2 + 3 z in c."""

    def forward(self, x, z, condition):
        return (condition * (x.square() + 3 * z))[:, 0]


def test_a_critics_slope_in_the_condition_is_not_penalised():
    x, z, c = (torch.randn(50, 1) for _ in range(3))
    c.requires_grad_()
    penalty = gradient_penalty(Quadratic(), x, z, condition=c)
    expected = 0.5 * ((2 * c * x).square() + (3 * c).square()).mean()
    assert torch.allclose(penalty, expected)
    penalty.backward()
    assert c.grad is None


@pytest.mark.parametrize("options", [{}, {"share": 0.3}, {"batches": True}])
def test_both_sides_of_a_critic_have_the_condition(options):
    real, made = (tuple(torch.randn(10, 1) for _ in range(2)) for _ in range(2))
    c = torch.randn(10, 1)
    above, below, penalty = penalised_logits(Quadratic(), real, made, condition=c, **options)
    assert torch.allclose(above, Quadratic()(*real, c))
    assert torch.allclose(below, Quadratic()(*made, c))
    rows = slice(3) if "share" in options else slice(None)
    expected = sum(gradient_penalty(Quadratic(), *(p[rows] for p in s), condition=c[rows]) for s in (real, made))
    assert torch.allclose(penalty, expected)
    batches = options.get("batches", False)
    for side, logits in zip(
        (above, below), logits_of(Quadratic(), real, made, condition=c, batches=batches), strict=True
    ):
        assert torch.allclose(side, logits)
    whole = critic_loss(Quadratic(), real, made, penalty=0.5, condition=c, **options)
    plain = critic_loss(Quadratic(), real, made, condition=c, batches=batches)
    assert torch.allclose(whole.loss, plain.loss + 0.5 * penalty)


@pytest.mark.parametrize("statistics", [False, True])
def test_the_head_of_a_critic_reads_the_condition(statistics):
    net = critic("mlp", (4,), 2 + 3, statistics=statistics)
    x, z, hot = torch.randn(6, 4), torch.randn(6, 2), torch.eye(3).repeat(2, 1)
    logits = net(x, z, condition=hot)
    assert logits.shape == (6,)
    assert (logits - net(x, z, condition=hot.roll(1, 0))).abs().max() > 1e-4
    logits.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_statistics_do_not_count_the_condition():
    linear = nn.Linear(2 + 3 + 1, 1)
    nn.init.zeros_(linear.weight)
    linear.weight.data[0, -1] = 1.0
    net = Critic(linear, statistics=True)
    x = torch.randn(6, 2)
    assert torch.equal(net(x, condition=torch.eye(3).repeat(2, 1)), net(x, condition=torch.zeros(6, 3)))
