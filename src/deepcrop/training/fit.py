"""Train a network: batches from several sources, a schedule, early stopping, checkpoints.

All random numbers follow from the seed and the number of the step, so that an interrupted training
continues to the same result.
"""

from __future__ import annotations

import csv
import math
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import ConfigDict
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from deepcrop.errors import DeepCropError
from deepcrop.network.devices import has_bfloat16
from deepcrop.network.model import DeepCrop
from deepcrop.network.sensor_branch import Batch, SensorFeatures
from deepcrop.network.targets import Labels, distribution_loss
from deepcrop.network.weights import INPUTS, Network, save
from deepcrop.storage.files import atomic_file, content_hash, write_csv
from deepcrop.storage.progress import progress_bar
from deepcrop.training.augment import Augmentation, augment
from deepcrop.training.examples import Example, collate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deepcrop.network.config import Config


@dataclass(frozen=True)
class Training:
    """Settings of a training.

    Attributes
    ----------
    steps : int
        Maximum number of batches.
    learning_rate : float
        Maximum learning rate.
    schedule : str
        "cosine": the learning rate rises over the first 5 % of the steps and falls as a cosine;
        "constant": it stays.
    weight_decay : float
        Weight decay of AdamW.
    grad_clip : float
        Maximum norm of the gradient.
    eval_interval : int
        Steps between two evaluations on the held-out examples.
    patience : int
        Evaluations without improvement after which training ends.
    seed : int
        Seed of all random numbers.
    bfloat16 : bool
        Mixed precision on hardware that has it; the weights stay float32.
    augmentation : Augmentation, optional
        Random changes of the training examples; None: they stay as they are.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    steps: int = 2000
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.02
    grad_clip: float = 1.0
    eval_interval: int = 200
    patience: int = 10
    seed: int = 1
    bfloat16: bool = False
    augmentation: Augmentation | None = field(default_factory=Augmentation)


@dataclass(frozen=True, eq=False)
class Source:
    """Examples of one kind and size.

    Attributes
    ----------
    name : str
        Kind of data; names its column of the log.
    examples : sequence of Example
        ``examples[k]`` may unpack or compute the example.
    weight : float
        Share of the batches relative to other sources.
    batch : int
        Examples in a batch.
    pixels : int
        Number of pixels of each tile that the temporal part runs over; 0: examples are patches.
    """

    name: str
    examples: Sequence[Example]
    weight: float = 1.0
    batch: int = 32
    pixels: int = 0


def fit(
    network: Network,
    sources: Sequence[Source],
    held_out: Sequence[Source],
    training: Training,
    out: Path,
    card: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] = INPUTS,
    on_step: Callable[[int], None] | None = None,
    workers: int = 0,
) -> Path:
    """Train a network, from the weights that it has.

    Writes ``out/log.csv``, ``out/checkpoint.pt`` (to resume) and ``out/weights.safetensors``: the
    weights with the lowest loss on the held-out examples, calibrated on them (`calibrate`).

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        Changed in place; it ends with the best weights.
    sources : sequence of Source
        Training examples.
    held_out : sequence of Source
        Examples for early stopping; the mean of their losses counts. Never a test site.
    training : Training
        Settings.
    out : Path
        Folder; created if missing. If it holds a checkpoint of the same settings, training resumes;
        sources are compared by their names, numbers and first examples.
    card, inputs : mapping
        Stored with the weights: as of `deepcrop.network.save`.
    on_step : callable, optional
        Called after each step with its number.
    workers : int
        Processes that prepare batches ahead, which changes no bit of the result; 0: none.

    Returns
    -------
    Path
        The file of weights.

    Raises
    ------
    DeepCropError
        If a source is empty, or the folder holds the checkpoint of another training.
    """
    for source in (*sources, *held_out):
        if not len(source.examples):
            raise DeepCropError(f"The source {source.name!r} has no example to train on.")
    out.mkdir(parents=True, exist_ok=True)
    target, checkpoint = out / "weights.safetensors", out / "checkpoint.pt"
    device = next(network.parameters()).device
    optimizer = make_optimizer(network, training)
    identity = {
        "training": asdict(training),
        "config": network.config.to_dict(),
        "sources": [(*_identity(s), s.weight, s.batch, s.pixels) for s in sources],
        "held_out": [_identity(s) for s in held_out],
        "start": _hash(tensor.cpu().numpy() for tensor in network.state_dict().values()),
    }
    state = _State()
    if checkpoint.exists():
        state = _resume(checkpoint, network, optimizer, identity)
    log = _Log(out / "log.csv", state.step, [source.name for source in held_out])
    batches = iter(
        DataLoader(
            _TrainingBatches(sources, training, network.config),
            batch_size=None,
            sampler=range(state.step, training.steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            pin_memory=device.type == "cuda",
            multiprocessing_context="fork" if workers else None,
        )
    )
    with progress_bar() as bar:
        task = bar.add_task("training", total=training.steps, completed=state.step)
        losses: list[Tensor] = []
        started = time.monotonic() - state.seconds
        while state.step < training.steps and state.without_improvement < training.patience:
            batch, labels, pixels, seed = next(batches)
            torch.manual_seed(seed)  # of dropped sensors
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * learning_rate_share(training, state.step)
            network.train()
            loss = _loss(network, batch, labels, pixels, device, training.bfloat16)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), training.grad_clip)
            optimizer.step()
            losses.append(loss.detach())
            state.step += 1
            bar.advance(task)
            if state.step % training.eval_interval == 0 or state.step == training.steps:
                held_out_losses = [
                    _held_out_loss(network, source, device, training.bfloat16)
                    for source in held_out
                ]
                mean_loss = float(torch.stack(losses).mean())
                state.seconds = time.monotonic() - started
                log.write(state.step, mean_loss, held_out_losses, state.seconds)
                losses.clear()
                state.evaluated(float(np.mean(held_out_losses)), network)
                _save_checkpoint(checkpoint, network, optimizer, identity, state)
            if on_step is not None:
                on_step(state.step)
    if not state.weights:
        raise DeepCropError(
            f"Training in {out} diverged: the held-out loss was never a number. Choose a lower "
            "learning_rate."
        )
    network.load_state_dict(state.weights)
    calibrate(network, held_out)
    save(network, target, inputs, card)
    return target


class _TrainingBatches(Dataset[tuple[Batch, Labels, Tensor | None, int]]):
    """The batch of every step: examples drawn and augmented by the seed and the step alone."""

    def __init__(self, sources: Sequence[Source], training: Training, config: Config):
        self.sources, self.training, self.config = sources, training, config
        self.shares = np.cumsum([source.weight for source in sources])

    def __len__(self) -> int:
        return self.training.steps

    def __getitem__(self, step: int) -> tuple[Batch, Labels, Tensor | None, int]:
        """Return batch, labels, pixels of each tile, and the seed of the network's own dropout."""
        rng = np.random.default_rng([self.training.seed, step])
        seed = int(rng.integers(2**62))
        number = int(np.searchsorted(self.shares, rng.uniform(0, self.shares[-1]), "right"))
        source = self.sources[number]
        chosen = rng.choice(len(source.examples), source.batch)
        examples = [source.examples[k] for k in chosen]
        if (settings := self.training.augmentation) is not None:
            examples = [augment(rng, example, settings) for example in examples]
        batch, labels = collate(examples, self.config)
        return batch, labels, _draw_pixels(source, labels, source.batch, rng), seed


def _draw_pixels(
    source: Source, labels: Labels, tiles: int, rng: np.random.Generator
) -> Tensor | None:
    """Draw the pixels of each tile that enter the loss; None: examples are patches."""
    if not source.pixels:
        return None
    return torch.from_numpy(rng.permutation(len(labels.day) // tiles)[: source.pixels])


def _loss(
    network: Network, batch: Batch, labels: Labels, pixels: Tensor | None, device: torch.device,
    bfloat16: bool,
) -> Tensor:  # fmt: skip
    """Loss of a batch; the loss itself is always computed in float32."""
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 and has_bfloat16(device)):
        features, labels = _encode(network, batch, labels, pixels, device)
        logits = network.head(features).float()
    return network.loss(logits, features, labels)


def _encode(
    network: Network, batch: Batch, labels: Labels, pixels: Tensor | None, device: torch.device
) -> tuple[dict[str, SensorFeatures], Labels]:
    """Run the branches; of tiles keep the given pixels, and their labels."""
    batch = Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))
    features = network.encode(batch, dense=pixels is not None)
    if pixels is not None:
        tiles = len(batch.optical)
        count = len(labels.day) // tiles
        on_device = pixels.to(device)
        features = {name: sensor.select(on_device) for name, sensor in features.items()}
        rows = (torch.arange(tiles)[:, None] * count + pixels).flatten()
        labels = Labels(*(tensor[rows] for tensor in labels))
    return features, Labels(*(tensor.to(device, non_blocking=True) for tensor in labels))


def _batches(source: Source, config: Config) -> Iterator[tuple[Batch, Labels, Tensor | None]]:
    """All examples without augmentation, each once; of tiles the same pixels every time."""
    rng = np.random.default_rng(0)
    for start in range(0, len(source.examples), source.batch):
        stop = min(start + source.batch, len(source.examples))
        batch, labels = collate([source.examples[k] for k in range(start, stop)], config)
        yield batch, labels, _draw_pixels(source, labels, stop - start, rng)


def _held_out_loss(network: Network, source: Source, device: torch.device, bfloat16: bool) -> float:
    """Mean loss of the examples of a source."""
    network.eval()
    losses = []
    with torch.inference_mode():
        for batch, labels, pixels in _batches(source, network.config):
            loss = _loss(network, batch, labels, pixels, device, bfloat16)
            losses.append(loss * len(batch.optical))
    return float(torch.stack(losses).sum()) / len(source.examples)


def calibrate(network: Network, held_out: Sequence[Source]) -> None:
    """Set the temperature of each stage to maximise the likelihood of the held-out dates.

    Where several sources know a stage, the last one counts: cameras come after simulated tiles.
    The paper variant has no temperatures.
    """
    if not isinstance(network, DeepCrop):
        return
    network.eval()
    log_temperatures = torch.linspace(math.log(0.5), math.log(4), 43)
    for source in held_out:
        logits, labels = _predictions(network, source)
        for stage in range(logits.shape[2]):
            stage_labels = Labels(*(tensor[:, :, stage : stage + 1] for tensor in labels))
            if not stage_labels.known.any():
                continue
            stage_logits, edges = logits[:, :, stage : stage + 1], network.edges.cpu()
            losses = [
                float(distribution_loss(stage_logits / t.exp(), stage_labels, edges))
                for t in log_temperatures
            ]
            network.log_temperature[stage] = log_temperatures[int(np.argmin(losses))]


def _predictions(network: DeepCrop, source: Source) -> tuple[Tensor, Labels]:
    """Logits and labels of all examples of a source."""
    device = network.days.device
    logits: list[Tensor] = []
    all_labels: list[Labels] = []
    with torch.inference_mode():
        for batch, labels, pixels in _batches(source, network.config):
            features, chosen = _encode(network, batch, labels, pixels, device)
            logits.append(network.head(features).float().cpu())
            all_labels.append(Labels(*(tensor.cpu() for tensor in chosen)))
    return torch.cat(logits), Labels(*(torch.cat(t) for t in zip(*all_labels, strict=True)))


def make_optimizer(network: Network, training: Training) -> torch.optim.AdamW:
    """AdamW without weight decay on biases, norms, kernel widths and position distances."""
    decayed: list[Tensor] = []
    not_decayed: list[Tensor] = []
    for name, parameter in network.named_parameters():
        vector = parameter.ndim < 2 or name.endswith("nearness")
        (not_decayed if vector else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate)


def learning_rate_share(training: Training, step: int) -> float:
    """Share of the maximum learning rate in a step.

    The cosine schedule warms up over the first 5 % of the steps and then decays to 1 %.
    """
    if training.schedule == "constant":
        return 1.0
    steps = training.steps
    warmup = max(0.05 * steps, 1)
    if step < warmup:
        return (step + 1) / warmup
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


# Checkpoint and log -----------------------------------------------------------------------------


@dataclass
class _State:
    """Progress of a training, and the best weights so far."""

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    without_improvement: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def evaluated(self, loss: float, network: Network) -> None:
        """Record an evaluation; keep the weights if they are the best so far."""
        if loss < self.best:
            self.best, self.without_improvement = loss, 0
            self.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        else:
            self.without_improvement += 1


def _save_checkpoint(
    path: Path,
    network: Network,
    optimizer: torch.optim.Optimizer,
    identity: dict[str, Any],
    state: _State,
) -> None:
    content = {
        "identity": identity,
        "state": asdict(state),
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_file(path) as part:
        torch.save(content, part)


def _resume(
    path: Path, network: Network, optimizer: torch.optim.Optimizer, identity: dict[str, Any]
) -> _State:
    device = next(network.parameters()).device
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file can raise anything in pickle
        raise DeepCropError(f"{path} cannot be read ({error}); delete it to start again.") from None
    if content["identity"] != identity:
        raise DeepCropError(
            f"{path} belongs to another training: settings, network or sources differ. Delete it, "
            "or choose another folder."
        )
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(**content["state"])


def _identity(source: Source) -> tuple[str, int, str]:
    """Name, number of examples and hash of the first example; hashing all would take too long."""
    first = _hash(vars(source.examples[0]).values())
    return source.name, len(source.examples), first


def _hash(arrays: Iterable[NDArray[Any]]) -> str:
    return content_hash(array.tobytes() for array in arrays)


class _Log:
    """Log as CSV, and as TensorBoard events where TensorBoard is installed."""

    def __init__(self, path: Path, step: int, names: Sequence[str]):
        self.path = path
        self.header = ["step", "loss", *(f"held_out_{name}" for name in names), "seconds"]
        kept = []
        if step and path.exists():
            with path.open(newline="") as file:
                kept = list(csv.reader(file))[1:]
        rows = [row for row in kept if row and int(row[0]) <= step]
        write_csv(path, self.header, rows, line_end="\r\n")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            # Evaluations after the last checkpoint are repeated: purge them from TensorBoard too.
            self.board = SummaryWriter(str(path.parent), purge_step=step + 1)

    def write(self, step: int, loss: float, held_out: Sequence[float], seconds: float) -> None:
        values = [loss, *held_out, seconds]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([step, *(f"{value:.5g}" for value in values)])
        if self.board is not None:
            for name, value in zip(self.header[1:], values, strict=True):
                self.board.add_scalar(name, value, step)
            self.board.flush()
