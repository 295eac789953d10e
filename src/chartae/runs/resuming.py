"""Continue a run, with all settings from its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from chartae.data import Dataset, Reading
from chartae.data.kinds import Kind
from chartae.data.sources import is_named
from chartae.records.files import Damaged
from chartae.records.replacing import NEW, settle
from chartae.records.run_folder import WEIGHTS
from chartae.records.settings import IN_MEMORY, Settings
from chartae.records.tensors import read_header
from chartae.records.training import Training
from chartae.runs.conditioning import with_condition
from chartae.runs.fitting import fit_request
from chartae.runs.request import Request
from chartae.runs.run import Run, condition_of
from chartae.runs.sizes import built_for
from chartae.runs.sources import reread
from chartae.training import OnEpoch, checkpoint

__all__ = ["resume"]

#: how run.toml begins the name of a function, which cannot be stored
FUNCTION = "own: "


def resume(
    folder: str | Path,
    *,
    epochs: int | None = None,
    data: object = None,
    root: str | Path | None = None,
    device: str | None = None,
    progress: bool | None = None,
    on_epoch: OnEpoch | None = None,
) -> Run:
    """Continue the training of a run from its checkpoint, with all settings from its folder.

    The numbers are those of a training without interruption. A run that is complete is returned as it is. Without a
    checkpoint yet, training starts anew.

    Args:
        folder: folder of the run.
        epochs: total number of epochs, >= 1, including those before; None (default) for that of the run, or of the
            continuation that was interrupted.
        data: the training data; None (default) reads those that the run names, which in-memory data do not have.
        root: folder of named data sets; None (default) for that of the fit.
        device: device as PyTorch names it; None (default) uses a GPU if there is one.
        progress: whether to show progress; None (default) shows it on a terminal only.
        on_epoch: function that is called after each epoch, as in `chartae.fit`; None (default) for none.

    Returns:
        The run, with all of its densities.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: the data are others, are needed, or a setting of the run is a function, which a folder cannot hold:
            then call `chartae.fit` with all of its arguments and ``resume=True``.
        InUse: another process trains the run.

    >>> import tempfile
    >>> import torch
    >>> import chartae as ch
    >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = ch.fit("rae", x, epochs=1, latent_dim=2, densities=(), out=folder, progress=False)
    ...     longer = ch.resume(folder, epochs=2, data=x, progress=False)
    >>> longer.history.epochs
    2
    """
    folder = Path(folder)
    settle(folder)
    new = folder / NEW
    # a replacement that was interrupted, perhaps before its first checkpoint, or else the run itself
    path = (new if not new.is_symlink() and (new / "run.toml").is_file() else folder) / "run.toml"
    if not path.is_file():
        raise FileNotFoundError(f"there is no run in {folder} (it has no run.toml); give the folder of a run")
    settings = Settings.read(path)
    _check_sizes(settings, path.parent)
    request = _request(settings, folder)
    if epochs is None:  # an interrupted continuation has more than run.toml says, which is of the weights
        epochs = max(settings.epochs, checkpoint.progress_of(path.parent)[2])
    training = replace(request.training, device=device, epochs=epochs)
    request = replace(
        request, root=root or settings.root or None, progress=progress, on_epoch=on_epoch, training=training
    )
    if settings.to:
        request = replace(request, to=_other(settings, request, root))
    if data is None:  # a data set that has been read takes no options for reading
        data, request = _data(settings, request, root), replace(request, reading=Reading())
    return fit_request(settings.recipe, data, request)


def _check_sizes(settings: Settings, folder: Path) -> None:
    """Refuse settings whose nets are not those of the checkpoint, or else of the weights, in a folder."""
    files = [*((name, "checkpoint", "model/") for name in checkpoint.FILES), (WEIGHTS, "weights", "")]
    for name, kind, prefix in files:
        path = folder / name
        if path.is_file():
            try:
                read_header(path, kind=kind)
            except Damaged:  # the one before it may be whole
                continue
            built_for(settings, path, kind=kind, prefix=prefix)
            return


def _request(settings: Settings, folder: Path) -> Request:
    """The settings of the fit that a run.toml describes."""
    stored = {"augment": settings.augment, **settings.training}
    for name, value in stored.items():
        if isinstance(value, str) and value.startswith(FUNCTION):
            raise ValueError(
                f"{name} was the function {value.removeprefix(FUNCTION)!r} in the run in {folder}, which a folder "
                f"cannot hold; call chartae.fit with the arguments of the fit, {name}=... and resume=True"
            )
    values: dict[str, Any] = {**settings.training}
    if isinstance(plateau := values.get("plateau"), list | tuple):
        values["plateau"] = tuple(plateau)
    training = Training(
        epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr, seed=settings.seed,
        precision=settings.precision, augment=settings.augment or None, **values,
    )  # fmt: skip
    names, components = settings.densities.get("names"), settings.densities.get("components")
    return Request(
        latent_dim=settings.latent_dim, net=settings.net, out=folder, resume=True, training=training,
        densities=None if names is None else tuple(cast(list[str], names)),
        components=cast(int | None, components), to=settings.to or None, options=settings.options,
        reading=Reading.from_dict(settings.reading, Kind.from_dict(settings.kind).codec),
    )  # fmt: skip


def _other(settings: Settings, request: Request, root: str | Path | None) -> Dataset:
    """The data of the other domain, if their files are those of the fit."""
    pictures = Reading(size=request.reading.size, background=request.reading.background)
    reading = Reading() if is_named(settings.to) else pictures
    return reread(settings, Kind.from_dict(settings.to_kind), reading, root, other=True)


def _data(settings: Settings, request: Request, root: str | Path | None) -> object:
    """The data that a run names, with its condition, if their files are those of the fit."""
    if IN_MEMORY in (settings.data, settings.to):
        raise ValueError("the run was fitted to in-memory data, which it does not keep; give them again (data=...)")
    kind = Kind.from_dict(settings.kind)
    data = reread(settings, kind, request.reading, root)
    condition = condition_of(settings)
    return data if condition is None else with_condition(data, condition)
