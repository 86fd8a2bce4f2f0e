"""A model is a folder: `model.onnx`, `model_card.yaml`, `golden.npz`. Nothing in it is ever unpickled."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visuotactile_ros.errors import ModelError
from visuotactile_ros.inference.model_card import ModelCard, model_card_yaml, parse_model_card
from visuotactile_ros.inference.onnx_model import OnnxModel

MODEL_FILE, CARD_FILE, GOLDEN_FILE = 'model.onnx', 'model_card.yaml', 'golden.npz'
_LARGEST_CARD_BYTES = 4_000_000


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A model that was checked, warmed up, and found to compute its golden outputs on this machine.

    Attributes:
        path: The folder.
        card: Its card.
        model: Its graph, ready to run.
        golden_inputs: Example inputs by name.
        golden_outputs: What the exporter computed for them, by name.
    """

    path: Path
    card: ModelCard
    model: OnnxModel
    golden_inputs: Mapping[str, np.ndarray]
    golden_outputs: Mapping[str, np.ndarray]


def load_model_folder(folder: Path | str, threads: int = 1) -> ModelFolder:
    """Load a model, or refuse it; the golden frames are its warm-up.

    Args:
        folder: The model folder.
        threads: Threads inside one operation of the graph.

    Raises:
        ModelError: A file is missing, damaged or changed, the card is of another version, the graph is not what the
            card says, or its outputs are not the golden ones. The text names the file and the command that mends it.
    """
    folder = Path(folder)
    remedy = f'Export it again: ros2 run visuotactile_ros export_onnx --checkpoint <checkpoint> --output {folder}'
    model_path, card_path, golden_path = (folder / name for name in (MODEL_FILE, CARD_FILE, GOLDEN_FILE))
    _check_files(folder, remedy)
    try:
        card = parse_model_card(_read(card_path, remedy, _LARGEST_CARD_BYTES).decode('utf-8'))
    except UnicodeDecodeError as error:
        raise ModelError(f'{card_path} is not UTF-8 text', remedy) from error
    except ModelError as error:
        raise _named(error, card_path, folder) from error
    model_bytes = _read(model_path, remedy)
    actual = hashlib.sha256(model_bytes).hexdigest()
    if actual != card.sha256:
        raise ModelError(f'{model_path} has the hash {actual[:12]}…, its card says {card.sha256[:12] or "none"}…',
                         remedy)
    try:
        model = OnnxModel(model_bytes, card, threads)
    except ModelError as error:
        raise _named(error, model_path, folder) from error
    golden_inputs, golden_outputs = _read_golden(golden_path, card, remedy)
    try:
        model.verify_golden(golden_inputs, golden_outputs)
    except ModelError as error:
        raise _named(error, golden_path, folder) from error
    return ModelFolder(folder, card, model, golden_inputs, golden_outputs)


def write_model_folder(folder: Path | str, model: bytes | Path | str, card: ModelCard,
                       golden_inputs: Mapping[str, np.ndarray],
                       golden_outputs: Mapping[str, np.ndarray]) -> ModelFolder:
    """Write a model folder that `load_model_folder` accepts, or nothing at all.

    The folder is built beside its place, loaded from there as the runtime would, and only then moved in.

    Args:
        folder: Where the model goes; a model folder that is already there is replaced.
        model: The ONNX file or its content, with the weights inside.
        card: The card; its sha256 is filled in here.
        golden_inputs: Example inputs by name.
        golden_outputs: What they must give, by name; computed apart from the exported graph, so that the check means
            something.

    Raises:
        ModelError: The runtime would refuse the folder, or `folder` holds something that is not a model.
    """
    folder = Path(folder).absolute()
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ModelError(f'{folder} is not a folder', 'Give the folder itself')
    strangers = sorted(path.name for path in folder.glob('*') if path.name not in (MODEL_FILE, CARD_FILE, GOLDEN_FILE))
    if strangers:
        raise ModelError(f'{folder} holds {strangers[0]}, which is no part of a model', 'Give a new folder')
    model_bytes = model if isinstance(model, bytes) else Path(model).read_bytes()
    card = dataclasses.replace(card, sha256=hashlib.sha256(model_bytes).hexdigest())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{folder.name}.', dir=folder.parent) as temporary:
        built = Path(temporary) / 'new'
        built.mkdir()
        (built / MODEL_FILE).write_bytes(model_bytes)
        (built / CARD_FILE).write_text(model_card_yaml(card), encoding='utf-8')
        np.savez_compressed(built / GOLDEN_FILE, **{f'input_{name}': values for name, values in golden_inputs.items()},
                            **{f'output_{name}': values for name, values in golden_outputs.items()})
        try:
            loaded = load_model_folder(built)
        except ModelError as error:
            raise ModelError(error.problem.replace(str(built), str(folder)),
                             'Mend the export; nothing was written') from error
        if folder.exists():
            folder.rename(Path(temporary) / 'old')
        built.rename(folder)
    return dataclasses.replace(loaded, path=folder)


def _check_files(folder: Path, remedy: str) -> None:
    if not folder.is_dir():
        known = sorted(path.parent.name for path in folder.parent.glob(f'*/{CARD_FILE}'))
        raise ModelError(f'there is no model folder {folder}',
                         f'Choose one of {", ".join(known)} beside it, or: {remedy}' if known else remedy)
    homes = set()
    for name in (MODEL_FILE, CARD_FILE, GOLDEN_FILE):
        path = folder / name
        if not path.is_file():
            raise ModelError(f'{path} is missing', remedy)
        # `colcon build --symlink-install` links each file; a link to another name or folder is a mixed-up model.
        resolved = path.resolve()
        if resolved.name != name:
            raise ModelError(f'{path} is a link to {resolved}', remedy)
        homes.add(resolved.parent)
    if len(homes) > 1:
        raise ModelError(f'the files of {folder} are links into {len(homes)} different folders', remedy)


def _read(path: Path, remedy: str, largest_bytes: int | None = None) -> bytes:
    try:
        if largest_bytes is not None and path.stat().st_size > largest_bytes:
            raise ModelError(f'{path} has {path.stat().st_size} bytes, more than {largest_bytes}', remedy)
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f'{path} cannot be read: {error.strerror}', remedy) from error


def _read_golden(path: Path, card: ModelCard, remedy: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except Exception as error:   # a damaged archive fails in zipfile, zlib, the header parser or the allocator
        raise ModelError(f'{path} cannot be read: {(str(error) or repr(error)).splitlines()[0]}', remedy) from error
    expected = [f'input_{tensor.name}' for tensor in card.inputs] + [f'output_{tensor.name}' for tensor in card.outputs]
    if sorted(arrays) != sorted(expected):
        raise ModelError(f'{path} holds {sorted(arrays)}, not {sorted(expected)}', remedy)
    return ({tensor.name: arrays[f'input_{tensor.name}'] for tensor in card.inputs},
            {tensor.name: arrays[f'output_{tensor.name}'] for tensor in card.outputs})


def _named(error: ModelError, path: Path, folder: Path) -> ModelError:
    return ModelError(f'{path}: {error.problem}', error.remedy.replace('<folder>', str(folder)))
