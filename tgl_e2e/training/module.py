"""The module that ``train.py`` hands to Accelerate: the network behind one stage's losses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tgl_e2e.config import TGLConfig
from tgl_e2e.data.clips import ClipBatch, ClipOptions
from tgl_e2e.data.motion import ATTRIBUTES
from tgl_e2e.data.nouns import naming
from tgl_e2e.errors import InputError
from tgl_e2e.files import replacing
from tgl_e2e.model.adapter import TemporalAttention, resize_patch
from tgl_e2e.model.checkpoint import save_checkpoint
from tgl_e2e.model.cpu import FastProducts
from tgl_e2e.model.dense import DenseHead
from tgl_e2e.model.features import AdaptedClip, Evidence, TGLOutput
from tgl_e2e.model.tgl import TGL
from tgl_e2e.training.config import TrainConfig
from tgl_e2e.training.losses import (
    LossWeights,
    attention_loss,
    dense_loss,
    noun_loss,
    similarity_loss,
    tgl_loss,
)

HEAD_NAME = "dense.safetensors"  # beside the network: the head that only training needs


def clip_options(
    config: TrainConfig, model: TGLConfig, fill: tuple[int, ...] | None = None
) -> ClipOptions:
    """The part of a stage's configuration that says which clips are drawn, and how the network sees
    frames."""
    own = {"size": model.vision.image_size, "block": model.block, "windows": model.windows}
    shared = {field.name for field in fields(ClipOptions)} - {*own, "fill"}
    return ClipOptions(**own, fill=fill, **{name: getattr(config, name) for name in shared})


def build_model(config: TGLConfig, init: Path | None, afresh: str = "") -> TGL:
    """A fresh network, or ``init``'s weights under the configuration asked for.

    Args:
        afresh: modules that begin from random weights all the same: parts of parameters' names,
            joined by commas (``tam,temporal``).

    Raises:
        InputError: there is no network in ``init``, or it does not fit; a module of ``afresh`` is
            not there.
    """
    parts = [part.strip() for part in afresh.split(",") if part.strip()]
    if init is None:
        if parts:
            raise InputError(f"afresh={afresh}: without --init everything begins afresh")
        return TGL(config)
    model = TGL.from_pretrained(init)
    if model.config == config and not parts:
        return model
    fresh = TGL(config, pretrained=False, tokenizer=init)
    fresh.bases_from_config = model.bases_from_config
    begun = tensors_within(fresh, parts)
    state = {name: value for name, value in model.state_dict().items() if name not in begun}
    for name, module in fresh.named_modules():
        position = f"{name}.position"
        if isinstance(module, TemporalAttention) and position in state:
            state[position] = resize_patch(state[position], module.patch_size)
    try:
        # Modules that the new configuration switches on start afresh; none may be lost or reshaped.
        missing, unexpected = fresh.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise _misfit(init, str(error).splitlines()[1].strip()) from None
    parts_switched_on = "temporal|difference|place|pool|moves|learned"
    switched = re.compile(rf"(adapters|tam|prior)\..*\b({parts_switched_on})\.")
    for name in (*missing, *unexpected):
        new_tam = name.startswith("tam.") and model.tam is None
        new_verbs = name.startswith("prompt.verbs.") and model.config.prompt.kind == "samwise"
        if not (name in begun or new_tam or new_verbs or switched.match(name)):
            raise _misfit(init, f"tensor {name!r}")
    return fresh


def _misfit(init: Path, reason: str) -> InputError:
    return InputError(f"--init {init}: its weights do not fit the values of model.* ({reason})")


def tensors_within(model: TGL, parts: list[str]) -> set[str]:
    """Names of the tensors within the modules that ``parts`` name; InputError if one names none."""
    found: set[str] = set()
    for part in parts:
        names = {name for name in model.state_dict() if f".{part}." in f".{name}"}
        if not names:
            raise InputError(
                f"afresh: no module {part!r} in the network; give parts of its "
                "parameters' names, such as tam or adapters.0.temporal"
            )
        found |= names
    return found


class TrainingModule(nn.Module):
    """The network, the dense head and the losses of one stage behind a single ``forward``.

    Args:
        stage: ``dense`` (image encoder and head alone), ``nouns`` (what the semantic prior learns),
            ``image`` (T = 1), ``align`` (clips, language path and TAM without memory), ``video``
            (everything) or ``moments`` (the TAM alone).
    """

    def __init__(self, model: TGL, stage: str, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.stage = stage
        self.config = config
        self.head = DenseHead(model.vision.dim, ATTRIBUTES) if config.dense_weight > 0 else None
        if stage == "dense" and self.head is None:
            raise InputError("dense_weight is 0, but the dense stage trains for nothing else")
        learns = model.prior is not None and model.prior.learned is not None
        if not learns and (stage == "nouns" or config.similarity_weight > 0):
            raise InputError(
                "the stage nouns and similarity_weight train what the semantic prior learns, and "
                "this network has no such part: set model.vision.prior=true, "
                "model.vision.prior_dim=256"
            )
        if config.attention_weight > 0 and (model.tam is None or model.tam.pool is None):
            raise InputError("attention_weight needs a TAM that attends: model.tam.pooling=place")
        if stage == "moments" and model.tam is None:
            raise InputError("the stage moments trains the TAM alone: set model.tam.enabled=true")
        weights = "dice_weight focal_weight tam_weight presence_weight dice_per_frame focal_alpha"
        self.weights = LossWeights(*(getattr(config, name) for name in weights.split()))
        self._names: dict[str, Tensor] = {}  # of names that were embedded
        self._kept: dict[str, tuple[Evidence, Tensor]] = {}  # of clips that come again
        model.set_stage(stage)
        model.vision.checkpointing = config.checkpointing

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, for the optimizer: SAM2's parts apart where their learning rate is."""
        factors = defaultdict(list)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                sam = name.startswith("model.vision.sam.")
                factors[self.config.sam_lr_factor if sam else 1.0].append(parameter)
        # What is not SAM2's comes first: its rate is the one that is logged.
        return [
            {"params": factors[factor], "lr": self.config.lr * factor}
            for factor in sorted(factors, key=lambda factor: factor != 1.0)
        ]

    def load_head(self, folder: Path) -> None:
        """The dense head from where :meth:`save` left it, if it is there and wanted here."""
        if self.head is not None and (folder / HEAD_NAME).is_file():
            self.head.load_state_dict(load_file(str(folder / HEAD_NAME)))

    def save(self, folder: Path, state: dict[str, Tensor] | None = None) -> None:
        """The network as ``save_pretrained`` writes it, and the dense head beside it.

        Args:
            state: all weights of this module, where it holds only shards of them itself.
        """
        parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, value in (state or {}).items():
            part, _, name = name.partition(".")
            parts[part][name] = value
        save_checkpoint(self.model, folder, None, None, parts.get("model"))
        if self.head is not None:
            head = parts.get("head") or self.head.state_dict()
            head = {name: value.cpu().contiguous() for name, value in head.items()}
            with replacing(folder / HEAD_NAME) as partial:
                save_file(head, str(partial))

    def forward(self, batch: ClipBatch) -> tuple[dict[str, Tensor], TGLOutput | None]:
        """
        Args:
            batch: B clips of T frames.

        Returns:
            Scalar losses (``loss`` is what is minimised), and the network's output (None in the
            dense stage).
        """
        # What is recomputed in the backward pass is recomputed outside of the mode.
        plain = self.config.checkpointing or batch.frames.is_cuda
        with nullcontext() if plain else FastProducts():
            return self._run(batch)

    def _run(self, batch: ClipBatch) -> tuple[dict[str, Tensor], TGLOutput | None]:
        if self.stage == "dense":
            prefix = self.model.encode_prefix(batch.frames.flatten(0, 1))
            return self._dense(self.model.extract_plain(prefix), batch.labels), None
        if self.stage == "nouns":
            return self._nouns(batch), None
        if self.stage == "moments" and self.training:
            return self._moments(batch), None
        if self.stage in ("align", "moments"):
            return self._align(batch)
        teach = self.training and self.config.remember_target > 0
        taught = (batch.target, batch.remember) if teach else (None, None)
        output = self.model(batch.frames, batch.texts, batch.relevant, batch.positions, *taught)
        predicted = output.masks, output.presence, output.relevance
        losses = tgl_loss(*predicted, batch.target, batch.relevant, weights=self.weights)
        return self._with_others(losses, output.adapted, batch), output

    def _align(self, batch: ClipBatch) -> tuple[dict[str, Tensor], TGLOutput]:
        """Masks of the frames on the language path only; elsewhere the output stays empty."""
        prediction, language, adapted = self.model.ground(
            batch.frames, batch.texts, batch.relevant, batch.positions
        )
        masks = prediction.masks.new_full((*language.shape, *prediction.masks.shape[1:]), -1.0)
        presence = prediction.presence.new_full(language.shape, -1.0)
        masks[language], presence[language] = prediction.masks, prediction.presence
        predicted = masks, presence, adapted.relevance
        losses = tgl_loss(*predicted, batch.target, batch.relevant, language, weights=self.weights)
        output = TGLOutput(masks, presence, adapted.relevance, adapted)
        return self._with_others(losses, adapted, batch), output

    def _moments(self, batch: ClipBatch) -> dict[str, Tensor]:
        """The TAM alone. All else is frozen: of clips that come again, what it has of them is kept
        in memory (0.8 MB a clip in bfloat16 for 8 frames of 320 x 320)."""
        if not all(name in self._kept for name in batch.names):
            with torch.no_grad():
                self.model.eval()  # the frozen rest, as inference has it: without dropout
                _, adapted = self.model.encode(batch.frames, batch.texts, batch.positions)
                self.model.train()
            evidence, size = adapted.evidence, adapted.visual.shape[2:4]
            where = F.interpolate(batch.target.float(), size=size, mode="area").bfloat16()
            if self.config.distinct:
                rows = [evidence[n : n + 1].map(_packed) for n in range(len(evidence))]
                self._kept.update(zip(batch.names, zip(rows, where, strict=True), strict=True))
        else:
            rows, parts = zip(*(self._kept[name] for name in batch.names), strict=True)
            evidence, where = joined(rows).map(_unpacked), torch.stack(parts)
        relevance, attended = self.model.tam(evidence)
        losses = {"tam": F.binary_cross_entropy_with_logits(relevance, batch.relevant.float())}
        losses["loss"] = self.config.tam_weight * losses["tam"]
        return self._with_attention(losses, attended, where)

    def _nouns(self, batch: ClipBatch) -> dict[str, Tensor]:
        if "noun" not in batch.labels:
            raise InputError("the stage nouns needs outlined instances of everything: dataset=coco")
        names, covers = naming(batch.nouns, said_as=int(torch.randint(1 << 30, ())))
        embedded = self._embedded(names)
        logits = self.model.recognise(batch.frames.flatten(0, 1), embedded)
        return noun_loss(
            logits, batch.labels["noun"].flatten(0, 1), torch.tensor(covers).to(logits)
        )

    @torch.no_grad()
    def _embedded(self, names: list[str]) -> Tensor:
        """(K, D) of names; the text encoder is frozen here, and says the same each time."""
        text, device = self.model.text, self.model.prior.class_embeddings.device
        new = [name for name in names if name not in self._names]
        if new:
            vectors = self.model.prior.expression(text, text.tokenize(new).to(device))
            self._names.update(zip(new, vectors, strict=True))
        return torch.stack([self._names[name] for name in names])

    def _with_others(
        self, losses: dict[str, Tensor], adapted: AdaptedClip, batch: ClipBatch
    ) -> dict[str, Tensor]:
        weight, target = self.config.similarity_weight, batch.target
        if weight > 0 and adapted.similarity is not None:
            similar = similarity_loss(adapted.similarity.flatten(0, 1), target.flatten(0, 1))
            losses["similar"] = similar.mean()
            losses["loss"] = losses["loss"] + weight * losses["similar"]
        losses = self._with_attention(losses, adapted.attended, target)
        if self.head is not None:
            dense = self._dense(adapted.features, batch.labels)
            losses["loss"] = losses["loss"] + self.config.dense_weight * dense.pop("loss")
            losses.update({f"dense/{name}": value for name, value in dense.items()})
        return losses

    def _with_attention(
        self, losses: dict[str, Tensor], attended: Tensor | None, target: Tensor
    ) -> dict[str, Tensor]:
        """Adds the loss of what the TAM attends to (B, T, h, w), given the target (B, T, H, W)."""
        weight = self.config.attention_weight
        if weight > 0 and attended is not None:
            losses["attention"] = attention_loss(attended, target).mean()
            losses["loss"] = losses["loss"] + weight * losses["attention"]
        return losses

    def _dense(self, features, labels: dict[str, Tensor]) -> dict[str, Tensor]:
        logits = self.head(features)
        if self.stage in ("dense", "image"):
            logits.pop("motion")  # one frame shows no motion
        return dense_loss(logits, {name: labels[name] for name in logits})


def _packed(x: Tensor) -> Tensor:
    """Half as large, where it is large."""
    return x.to(torch.bfloat16 if x.is_floating_point() and x.dim() > 3 else x.dtype).clone()


def _unpacked(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def joined(clips: Sequence[Evidence]) -> Evidence:
    """Clips of one length, whose sentences are padded to the longest."""
    longest = max(clip.text.shape[1] for clip in clips)

    def padded(clip: Evidence) -> Evidence:
        more = longest - clip.text.shape[1]
        text, mask = F.pad(clip.text, (0, 0, 0, more)), F.pad(clip.text_mask, (0, more))
        return replace(clip, text=text, text_mask=mask)

    return Evidence.cat([padded(clip) for clip in clips])
