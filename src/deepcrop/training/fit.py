"""Teaching a network: batches from several sources, a schedule, early stopping, checkpoints.

Everything random follows from the seed and the number of the step, so that training that was
interrupted goes on to the same result.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from deepcrop.errors import DeepCropError
from deepcrop.network.config import Config
from deepcrop.network.devices import has_bfloat16
from deepcrop.network.model import DeepCrop
from deepcrop.network.sensor_branch import Batch, Series
from deepcrop.network.targets import Labels, distribution_loss
from deepcrop.network.weights import INPUTS, Network, save
from deepcrop.storage.files import atomic_file, content_hash
from deepcrop.storage.progress import progress_bar
from deepcrop.training.augment import Augmentation, augment
from deepcrop.training.examples import Example, collate


@dataclass(frozen=True)
class Training:
    """How a network is taught.

    Attributes
    ----------
    steps : int
        Batches, at most.
    rate : float
        Greatest learning rate; it rises over the first 5 % of the steps and falls as a cosine.
    weight_decay, clip : float
        Of AdamW; greatest norm of a gradient.
    check : int
        Steps from one look at the held-out examples to the next.
    patience : int
        Looks without a better one after which training ends.
    seed : int
        Everything random follows from it.
    bfloat16 : bool
        Mixed precision where the hardware has it; the weights stay float32.
    augmentation : Augmentation
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    steps: int = 2000
    rate: float = 2e-3
    weight_decay: float = 0.02
    clip: float = 1.0
    check: int = 200
    patience: int = 10
    seed: int = 1
    bfloat16: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)


@dataclass(frozen=True, eq=False)
class Source:
    """Examples of one kind and size.

    Attributes
    ----------
    name : str
    examples : sequence of Example
        ``examples[k]`` may unpack or compute it.
    weight : float
        Share of the batches relative to other sources.
    batch : int
        Examples in a batch.
    pixels : int
        Pixels of each tile that the temporal part runs over; 0: examples are patches.
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
    how: Training,
    out: Path,
    card: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] = INPUTS,
    on_step: Callable[[int], None] | None = None,
    workers: int = 0,
) -> Path:
    """Teach a network; what it was taught before, if anything, is where it starts.

    Writes ``out/log.csv``, ``out/checkpoint.pt`` (to resume) and ``out/weights.safetensors``: the
    weights that did best on the held-out examples, calibrated on them (`calibrate`).

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        Changed in place; it ends with the best weights.
    sources : sequence of Source
        What to learn from.
    held_out : sequence of Source
        What decides when to stop; the mean of their losses counts. Never a test site.
    how : Training
        Settings.
    out : Path
        Folder; made if missing. If it holds a checkpoint of the same settings, training resumes;
        sources are known by their names, numbers and first examples.
    card, inputs : mapping
        Go into the file of weights: as of `deepcrop.network.save`.
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
            raise DeepCropError(f"The source {source.name!r} has no example; nothing to learn.")
    out.mkdir(parents=True, exist_ok=True)
    target, checkpoint = out / "weights.safetensors", out / "checkpoint.pt"
    device = next(network.parameters()).device
    optimizer = _optimizer(network, how)
    identity = {
        "training": asdict(how),
        "config": network.config.to_dict(),
        "sources": [(*_identity(s), s.weight, s.batch, s.pixels) for s in sources],
        "held_out": [_identity(s) for s in held_out],
        "start": _hash(part.cpu().numpy() for part in network.state_dict().values()),
    }
    state = _State()
    if checkpoint.exists():
        state = _resume(checkpoint, network, optimizer, identity)
    log = _Log(out / "log.csv", state.step, [source.name for source in held_out])
    lessons = _Lessons(sources, how, network.config)
    ahead = iter(
        DataLoader(
            lessons, None, sampler=range(state.step, how.steps), num_workers=workers,
            prefetch_factor=4 if workers else None, pin_memory=device.type == "cuda",
            multiprocessing_context="fork" if workers else None,
        )
    )  # fmt: skip
    with progress_bar() as bar:
        task = bar.add_task("training", total=how.steps, completed=state.step)
        losses: list[Tensor] = []
        started = time.monotonic() - state.seconds
        while state.step < how.steps and state.worse < how.patience:
            source, batch, labels, some, seed = next(ahead)
            torch.manual_seed(seed)
            for group in optimizer.param_groups:
                group["lr"] = how.rate * _schedule(state.step, how.steps)
            network.train()
            loss = _loss(network, batch, labels, some, device, how.bfloat16)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), how.clip)
            optimizer.step()
            losses.append(loss.detach())
            state.step += 1
            bar.advance(task)
            if state.step % how.check == 0 or state.step == how.steps:
                each = [_held_out_loss(network, one, device, how) for one in held_out]
                mean = float(torch.stack(losses).mean())
                state.seconds = time.monotonic() - started
                log.write(state.step, mean, each, state.seconds)
                losses.clear()
                state.look(float(np.mean(each)), network)
                _save_checkpoint(checkpoint, network, optimizer, identity, state)
            if on_step is not None:
                on_step(state.step)
    if not state.weights:
        raise DeepCropError(
            f"Training in {out} came to nothing: the held-out loss was never a number. Choose a "
            "lower rate."
        )
    network.load_state_dict(state.weights)
    calibrate(network, held_out)
    save(network, target, inputs, card)
    return target


class _Lessons(Dataset):
    """The batch of every step: examples drawn and changed by the seed and the step alone."""

    def __init__(self, sources: Sequence[Source], how: Training, config: Config):
        self.sources, self.how, self.config = sources, how, config
        self.shares = np.cumsum([source.weight for source in sources])

    def __len__(self) -> int:
        return self.how.steps

    def __getitem__(self, step: int) -> tuple[int, Batch, Labels, Tensor | None, int]:
        """Return source's number, batch, labels, pixels of a tile, seed of what is still random."""
        rng = np.random.default_rng([self.how.seed, step])
        seed = int(rng.integers(2**62))
        number = int(np.searchsorted(self.shares, rng.uniform(0, self.shares[-1]), "right"))
        source = self.sources[number]
        chosen = rng.choice(len(source.examples), source.batch)
        examples = [augment(rng, source.examples[k], self.how.augmentation) for k in chosen]
        batch, labels = collate(examples, self.config)
        some = _some_pixels(source, labels, source.batch, rng)
        return number, batch, labels, some, seed


def _some_pixels(
    source: Source, labels: Labels, tiles: int, rng: np.random.Generator
) -> Tensor | None:
    """Draw the pixels of each tile that count; None: examples are patches."""
    if not source.pixels:
        return None
    return torch.from_numpy(rng.permutation(len(labels.day) // tiles)[: source.pixels])


def _loss(
    network: Network, batch: Batch, labels: Labels, some: Tensor | None, device: torch.device,
    bfloat16: bool,
) -> Tensor:  # fmt: skip
    with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16 and has_bfloat16(device)):
        seen, labels = _looked_at(network, batch, labels, some, device)
        logits = network.head(seen).float()
    return network.loss(logits, seen, labels)


def _looked_at(
    network: Network, batch: Batch, labels: Labels, some: Tensor | None, device: torch.device
) -> tuple[dict[str, Series], Labels]:
    """Run the branches; of tiles keep some pixels, and their labels."""
    batch = Batch(*(part.to(device, non_blocking=True) for part in batch))
    seen = network.look(batch, dense=some is not None)
    if some is not None:
        tiles = len(batch.optical)
        count = len(labels.day) // tiles
        here = some.to(device)
        seen = {name: one.part(here) for name, one in seen.items()}
        every = (torch.arange(tiles)[:, None] * count + some).flatten()
        labels = Labels(*(part[every] for part in labels))
    return seen, Labels(*(part.to(device, non_blocking=True) for part in labels))


def _batches(source: Source, config: Config) -> Iterator[tuple[Batch, Labels, Tensor | None]]:
    """All examples as they are, each once; of tiles the same pixels every time."""
    rng = np.random.default_rng(0)
    for start in range(0, len(source.examples), source.batch):
        stop = min(start + source.batch, len(source.examples))
        batch, labels = collate([source.examples[k] for k in range(start, stop)], config)
        yield batch, labels, _some_pixels(source, labels, stop - start, rng)


def _held_out_loss(network: Network, source: Source, device: torch.device, how: Training) -> float:
    """Mean loss of the examples of a source."""
    network.eval()
    losses = []
    with torch.inference_mode():
        for batch, labels, some in _batches(source, network.config):
            loss = _loss(network, batch, labels, some, device, how.bfloat16)
            losses.append(loss * len(batch.optical))
    return float(torch.stack(losses).sum()) / len(source.examples)


def calibrate(network: Network, held_out: Sequence[Source]) -> None:
    """Set the temperature of each stage so that held-out dates are as likely as they can be.

    Each stage by the last of the sources that knows its dates: cameras come after lessons. The
    paper variant has no temperatures.
    """
    if not isinstance(network, DeepCrop):
        return
    network.eval()
    trial = torch.linspace(math.log(0.5), math.log(4), 43)
    for source in held_out:
        logits, labels = _answers(network, source)
        for stage in range(logits.shape[2]):
            mine = Labels(*(part[:, :, stage : stage + 1] for part in labels))
            if not mine.known.any():
                continue
            part, edges = logits[:, :, stage : stage + 1], network.edges.cpu()
            likely = [float(distribution_loss(part / t.exp(), mine, edges)) for t in trial]
            network.log_temperature[stage] = trial[int(np.argmin(likely))]


def _answers(network: DeepCrop, source: Source) -> tuple[Tensor, Labels]:
    """Logits and labels of all examples of a source."""
    device = network.days.device
    logits: list[Tensor] = []
    known: list[Labels] = []
    with torch.inference_mode():
        for batch, labels, some in _batches(source, network.config):
            seen, chosen = _looked_at(network, batch, labels, some, device)
            logits.append(network.head(seen).float().cpu())
            known.append(Labels(*(part.cpu() for part in chosen)))
    return torch.cat(logits), Labels(*(torch.cat(parts) for parts in zip(*known, strict=True)))


def _optimizer(network: Network, how: Training) -> torch.optim.AdamW:
    """AdamW that lets vectors be: offsets, norms, widths of kernels, nearness of positions."""
    decayed: list[Tensor] = []
    free: list[Tensor] = []
    for name, parameter in network.named_parameters():
        keep = parameter.ndim < 2 or name.endswith("nearness")
        (free if keep else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": how.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=how.rate)


def _schedule(step: int, steps: int) -> float:
    """Share of the greatest learning rate: up over the first 5 %, then down as a cosine."""
    up = max(0.05 * steps, 1)
    if step < up:
        return (step + 1) / up
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - up) / max(steps - up, 1)))


# What is kept of a training --------------------------------------------------------------------


@dataclass
class _State:
    """How far training is, and the best weights so far."""

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    worse: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def look(self, loss: float, network: Network) -> None:
        if loss < self.best:
            self.best, self.worse = loss, 0
            self.weights = {k: v.detach().cpu().clone() for k, v in network.state_dict().items()}
        else:
            self.worse += 1


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
    except Exception as error:  # whatever pickle makes of a damaged file
        raise DeepCropError(f"{path} cannot be read ({error}); delete it to start anew.") from None
    if content["identity"] != identity:
        raise DeepCropError(
            f"{path} belongs to another training: settings, network or sources differ. Delete it, "
            "or choose another folder."
        )
    network.load_state_dict(content["network"])
    optimizer.load_state_dict(content["optimizer"])
    return _State(**content["state"])


def _identity(source: Source) -> tuple[str, int, str]:
    """Name, number and first example of a source; to read them all would take too long."""
    first = _hash(vars(source.examples[0]).values())
    return source.name, len(source.examples), first


def _hash(arrays: Iterable[NDArray]) -> str:
    return content_hash(array.tobytes() for array in arrays)


class _Log:
    """A CSV that a person can plot; TensorBoard's events beside it where that is installed."""

    def __init__(self, path: Path, step: int, names: Sequence[str]):
        self.path = path
        self.header = ["step", "loss", *(f"held_out_{name}" for name in names), "seconds"]
        kept = []
        if step and path.exists():
            with path.open(newline="") as file:
                kept = [row for row in csv.reader(file)][1:]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(
                [self.header, *(row for row in kept if row and int(row[0]) <= step)]
            )
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            # Looks that no checkpoint knows are taken again: TensorBoard is to forget them too.
            self.board = SummaryWriter(str(path.parent), purge_step=step + 1)

    def write(self, step: int, loss: float, held_out: Sequence[float], seconds: float) -> None:
        values = [loss, *held_out, seconds]
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow([step, *(f"{value:.5g}" for value in values)])
        if self.board is not None:
            for name, value in zip(self.header[1:], values, strict=True):
                self.board.add_scalar(name, value, step)
            self.board.flush()
