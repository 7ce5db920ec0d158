"""What a run is made of: model, optimizer and data, and the weights that a new run starts from."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from diffwave.checkpoint import load_checkpoint
from diffwave.data.crops import Crops, Framing
from diffwave.data.data import Clip, load_corpus
from diffwave.data.envelope import envelope_path, fitted_space, load_envelope
from diffwave.errors import InputError
from diffwave.model import DiffusionModel
from diffwave.train.config import LossConfig, TrainConfig
from diffwave.train.engine import Engine
from diffwave.train.optim import make_optimizer
from diffwave.train.state import Ema, Trained, check_same_model
from diffwave.vocoder import find_checkpoint

log = logging.getLogger(__name__)


@dataclass
class Parts:
    """What a run works with."""

    trained: Trained
    crops: Crops
    validation: list[Clip]


def make_parts(config: TrainConfig, engine: Engine, progress_bar: bool) -> Parts:
    """Read the data and make everything else, with random weights.

    Raises:
        InputError: for settings or data that cannot be used.
    """
    if config.run.threads > 0:
        torch.set_num_threads(config.run.threads)
    engine.shares(config.optim.batch_size, config.optim.accumulate)  # before the data is read
    torch.manual_seed(config.run.seed)
    model_config = config.model_config()
    model = DiffusionModel(model_config).to(engine.device)
    shortest = Framing(model_config).samples(config.data.crop_frames)
    corpus = load_corpus(config.data, model_config.mel, shortest, progress_bar)
    for sentence in corpus.rejected:
        log.warning("rejected: %s", sentence)
    for sentence in corpus.notes:
        log.info("%s", sentence)
    log.info("%.2f hours to train on", corpus.hours)
    freeze_untrained(model, config.loss)
    half = config.run.precision == "float16"
    trained = Trained(
        model,
        Ema(model.learned(), config.optim.ema),
        make_optimizer(model, config.optim),
        torch.amp.GradScaler(engine.device.type, enabled=half),
    )
    crops = Crops(corpus.train, model_config, config.data, config.run.seed)
    return Parts(trained, crops, corpus.validation)


def freeze_untrained(model: DiffusionModel, config: LossConfig) -> None:
    """Take what no loss trains out of training; processes would wait for its gradients."""
    model.network.requires_grad_(bool(config.denoising or config.unrolled))
    if model.enhancer is not None:
        model.enhancer.requires_grad_(bool(config.restoration))
    if not any(parameter.requires_grad for parameter in model.learned()):
        raise InputError("The losses with a weight above 0 train nothing of this model.")


def initialise(parts: Parts, config: TrainConfig) -> None:
    """Give a new run the weights of a checkpoint, or the envelope of its data.

    Raises:
        InputError: for a checkpoint that is of another model, or not there.
    """
    model = parts.trained.model
    if config.run.init:
        theirs = load_checkpoint(find_checkpoint(config.run.init))
        ours = model.config
        if theirs.enhancer is None and model.enhancer is not None:
            log.info("%s has no mel enhancer; its training starts here", config.run.init)
            ours = dataclasses.replace(ours, enhancer=None)
        check_same_model(theirs.config, ours, f"The checkpoint {config.run.init}")
        model.load_state_dict(theirs.state_dict(), strict=ours.enhancer == model.config.enhancer)
    elif model.space.needs_fit:
        if load_envelope(envelope_path(Path(config.data.folder)), model.space):
            return
        model.space.load_state_dict(fitted_space(model.config, parts.crops).state_dict())
