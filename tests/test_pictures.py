"""Pictures: the place of every pixel, and errors."""

import numpy as np
import pytest
from PIL import Image

from chartae.draw import pictures


def numbered(n: int, c: int = 1, h: int = 2, w: int = 3) -> np.ndarray:
    """Image i is filled with i + 1 in its first channel, and 10 more in each next one."""
    x = np.arange(1, n + 1).reshape(n, 1, 1, 1) + 10 * np.arange(c).reshape(1, c, 1, 1)
    return np.broadcast_to(x, (n, c, h, w)).astype(np.uint8)


def test_a_grid_holds_each_image_in_its_place():
    g = pictures.grid(numbered(5), columns=3, pad=1, background=200)
    assert g.shape == (2 * 3 + 1, 3 * 4 + 1)
    for i in range(5):
        r, c = divmod(i, 3)
        np.testing.assert_array_equal(g[1 + 3 * r : 3 + 3 * r, 1 + 4 * c : 4 + 4 * c], i + 1)
    assert (g[::3] == 200).all()
    assert (g[:, ::4] == 200).all()
    assert (g[4:6, 9:12] == 200).all()  # the empty place
    assert pictures.grid(numbered(2), columns=9, pad=0).shape == (2, 6)  # no empty columns


def test_three_channels_are_colour_and_others_their_mean():
    assert pictures.grid(numbered(1, 3), pad=0)[0, 0].tolist() == [1, 11, 21]
    assert pictures.grid(numbered(4, 2), pad=0).tolist() == np.kron([[6, 7], [8, 9]], np.ones((2, 3))).tolist()


def test_strips_and_pairs():
    paths = numbered(6).reshape(2, 3, 1, 2, 3)
    np.testing.assert_array_equal(pictures.strip(paths), pictures.grid(numbered(6), columns=3))
    np.testing.assert_array_equal(pictures.strip(paths[0]), pictures.grid(numbered(3), columns=3))
    p = pictures.pairs(numbered(3), numbered(3) + 100, columns=2, pad=0)
    assert p[::2, ::3].tolist() == [[1, 2], [101, 102], [3, 255], [103, 255]]


def test_an_enlarged_picture_is_made_of_squares(tmp_path):
    x = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    big = pictures.enlarge(x, 3)
    np.testing.assert_array_equal(big, np.stack([np.kron(x[..., i], np.ones((3, 3))) for i in range(3)], -1))
    path = pictures.save_png(tmp_path / "new" / "x.png", big)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), big)
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: pictures.grid(np.zeros((2, 1, 3, 3))), TypeError, "images are float64; .* uint8"),
        (
            lambda: pictures.grid(np.zeros((2, 3, 3), np.uint8)),
            ValueError,
            r"\(2, 3, 3\); expected \(n, C, H, W\)",
        ),
        (lambda: pictures.grid(numbered(0)), ValueError, "expected no dimension of size 0"),
        (lambda: pictures.grid(numbered(2), columns=0), ValueError, "columns is 0.* columns >= 1"),
        (lambda: pictures.grid(numbered(2), pad=-1), ValueError, "pad is -1"),
        (lambda: pictures.grid(numbered(2), background=256), ValueError, "background is 256"),
        (lambda: pictures.strip(np.zeros((2, 2), np.uint8)), ValueError, "steps, C, H, W"),
        (lambda: pictures.pairs(numbered(2), numbered(3)), ValueError, "expected the same shape"),
        (lambda: pictures.pairs(numbered(2), numbered(2), columns=0), ValueError, "columns is 0"),
        (lambda: pictures.enlarge(np.zeros((2, 2), np.uint8), 0), ValueError, "factor is 0"),
        (lambda: pictures.png(np.zeros((2, 2))), TypeError, "float64"),
        (lambda: pictures.png(np.zeros((2, 2, 2), np.uint8)), ValueError, r"\(2, 2, 2\)"),
    ],
)
def test_refusals(call, error, says):
    with pytest.raises(error, match=says):
        call()
