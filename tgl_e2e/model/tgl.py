"""The network of Temporally Grounded Learning, as the named steps of the paper."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from tgl_e2e.config import TGLConfig
from tgl_e2e.model.build import build_parts
from tgl_e2e.model.checkpoint import load_checkpoint, save_checkpoint
from tgl_e2e.model.dual_path import DualPath, segment_clips
from tgl_e2e.model.features import AdaptedClip, FrameFeatures, MaskPrediction, TGLOutput
from tgl_e2e.model.memory import Memories
from tgl_e2e.model.prior import Cells, Steering
from tgl_e2e.model.text import TextTokens
from tgl_e2e.model.trained import is_base, is_trained


class TGL(nn.Module):
    """Video and sentence in, a mask per frame and the moments of the sentence out.

    Args:
        config: the network's configuration.
        pretrained: load the bases that the config names; False builds random weights.
        tokenizer: folder of a RoBERTa tokenizer; by default that of ``text.base``, or the one
            shipped with the package where no base is loaded.
    """

    def __init__(
        self, config: TGLConfig, pretrained: bool = True, tokenizer: str | Path | None = None
    ) -> None:
        super().__init__()
        parts = build_parts(config, pretrained, tokenizer)
        self.config = parts.config
        self.vision = parts.vision
        self.text = parts.text
        self.adapters = parts.adapters
        self.prompt = parts.prompt
        self.tam = parts.tam
        self.prior = parts.prior
        self.conditional = parts.conditional
        # Only bases that came from where the config says can be left out of a checkpoint.
        self.bases_from_config = pretrained and None not in (config.vision.base, config.text.base)
        self.compute_dtype = torch.float32
        self.set_stage("video")
        self.train()  # as any fresh module, but for frozen bases

    def autocast(self) -> torch.autocast:
        """Context in which inference runs: in ``compute_dtype``, with float32 weights."""
        device = next(self.parameters()).device.type
        return torch.autocast(device, self.compute_dtype, self.compute_dtype != torch.float32)

    # --- what is trained -------------------------------------------------------------------

    def set_stage(self, stage: str) -> None:
        """``dense``, ``image``, ``align`` or ``video``: what the stage does not train is frozen."""
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(is_trained(name, stage, self.config))

    def train(self, mode: bool = True) -> TGL:
        """Frozen bases stay in eval mode: their dropout would only blur their features."""
        super().train(mode)
        if self.config.freeze_bases:
            for name, module in self.named_modules():
                if is_base(name, self.config):
                    module.training = False
        return self

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of parameters: total, trained (video stage), tam (part of both), and by part."""
        sizes = {name: p.numel() for name, p in self.named_parameters()}

        def count(*prefixes: str) -> int:
            return sum(n for name, n in sizes.items() if name.startswith(prefixes))

        return {
            "total": sum(sizes.values()),
            "trained": sum(
                n for name, n in sizes.items() if is_trained(name, "video", self.config)
            ),
            "sam2": count("vision."),
            "roberta": count("text."),
            "adapters": count("adapters."),
            "prompt": count("prompt."),
            "tam": count("tam."),
        }

    # --- steps -----------------------------------------------------------------------------

    def encode_prefix(self, frames: Tensor) -> list[Tensor]:
        """The trunk before the first adapter, shared by both paths and by all sentences. With a
        semantic prior, which looks at F_SAM's last stages, these too: then both paths share them.

        Args:
            frames: (N, 3, H, W) uint8, or float in [0, 1].
        """
        prefix = self.vision.trunk_prefix(self.vision.preprocess(frames))
        return prefix if self.prior is None else self.vision.plain_stages(prefix)

    def extract_plain(self, prefix: list[Tensor]) -> FrameFeatures:
        """F_SAM of N frames: no language."""
        return self.vision.plain_features(prefix)

    def extract_adapted(
        self, prefix: list[Tensor], tokens: TextTokens, times: Tensor, align: bool = True
    ) -> AdaptedClip:
        """F_Adp, rho_txt and s_t of B clips (Eq. 1, 2 and A.2.2).

        Args:
            prefix: of B * T frames, clip by clip; or of T frames, one clip for all sentences, of
                which the first adapter makes B: ``features.fine[0]`` then is of T frames too.
            tokens: B sentences.
            times: (B, T) position of each frame in its block, in blocks.
            align: also run the TAM.
        """
        batch = len(times)
        visual, text = prefix[1], self.text.embed(tokens)
        stages, done = [prefix[0]], 0
        steering = None if self.prior is None else self._steer(prefix, tokens, times.numel())
        for stage, (adapter, layer) in enumerate(
            zip(self.adapters, self.config.text.adapter_layers, strict=True), start=1
        ):
            if stage > 1:
                visual = self.vision.trunk_stage(visual, stage)
            if stage == 3 and steering is not None:
                visual = visual + steering.last
            text = self.text.layers(text, tokens.mask, done, layer)
            done = layer
            clip = rearrange(visual, "(b t) h w c -> b t h w c", t=times.shape[1])
            clip, text = adapter(clip, text, tokens.mask, times)
            visual = rearrange(clip, "b t h w c -> (b t) h w c")
            stages.append(visual)
        features, similarity = self.vision.neck(stages), None
        if steering is not None and steering.top is not None:
            features = FrameFeatures(features.top + steering.top, features.fine)
            similarity = rearrange(steering.similarity, "(b t) h w -> b t h w", b=batch)
        relevance = attended = evidence = None
        if align and self.tam:
            evidence = self.tam.evidence(clip, text, tokens.mask, times, prefix[1])
            relevance, attended = self.tam(evidence)
        prompts = self.prompt(text, tokens.verb_mask)
        return AdaptedClip(features, prompts, relevance, clip, similarity, attended, evidence)

    def cells(self, prefix: list[Tensor]) -> Cells:
        """What N frames show, in the space of the text encoder, by the semantic prior."""
        third, last = (stage.detach() for stage in self.vision.plain_stages(prefix)[2:])
        return self.prior.cells(self.vision.trunk, third, last)

    def _steer(self, prefix: list[Tensor], tokens: TextTokens, count: int) -> Steering:
        """The semantic prior of ``count`` = B * T frames; ``prefix`` may be of T frames that all B
        expressions share."""
        cells = self.cells(prefix)
        expressions = self.prior.expression(self.text, tokens)  # (B, D)
        return self.prior(
            cells.map(lambda x: x.repeat(count // len(cells), 1, 1, 1)),
            expressions.repeat_interleave(count // len(expressions), dim=0),
        )

    def recognise(self, frames: Tensor, names: Tensor) -> Tensor:
        """Where each of K names is seen, by the learned prior alone.

        Args:
            frames: (N, 3, H, W) uint8, or float in [0, 1].
            names: (K, D) of :meth:`~tgl_e2e.model.prior.SemanticPrior.expression`.

        Returns:
            (N, K, S/16, S/16) logits.
        """
        cells = self.cells(self.encode_prefix(frames))
        return self.prior.learned.similarity(cells.learned, names[None])

    def segment(
        self,
        features: FrameFeatures,
        frames: Tensor,
        memories: Memories | None,
        prompts: Tensor | None,
    ) -> MaskPrediction:
        """Memory attention and mask decoder (Eq. 3 to 5).

        Args:
            features: N frames; F_Adp where ``prompts`` is given, F_SAM where it is None.
            frames: (N,) long frame numbers.
            memories: N banks of equal size, or None before anything was written.
            prompts: (N, 1, C) on M+ frames; None on M- frames.
        """
        fused = self.vision.read_memory(features, frames, memories)
        return self.vision.decode(fused, features, prompts)

    @property
    def dual_path(self) -> DualPath:
        """Both paths with the configured ablations, over :meth:`segment`."""
        return DualPath(self.segment, self.config.memory)

    # --- training --------------------------------------------------------------------------

    def encode(
        self, frames: Tensor, texts: list[str], positions: Tensor
    ) -> tuple[list[Tensor], AdaptedClip]:
        tokens = self.text.tokenize(texts).to(frames.device)
        prefix = self.encode_prefix(rearrange(frames, "b t c h w -> (b t) c h w"))
        times = positions / self.config.block
        return prefix, self.extract_adapted(prefix, tokens, times, align=times.shape[1] > 1)

    def ground(
        self, frames: Tensor, texts: list[str], relevant: Tensor, positions: Tensor
    ) -> tuple[MaskPrediction, Tensor, AdaptedClip]:
        """The language path alone, each frame by itself without memory: what is cheap to learn
        first. Arguments as in :meth:`forward`; memory and its ablations take no part.

        Returns:
            Prediction of the N frames that take the language path; which they are, (B, T) bool; and
            the adapted clip with the TAM's scores.
        """
        _, adapted = self.encode(frames, texts, positions)
        language = relevant | ~relevant.any(dim=1, keepdim=True)  # (B, T)
        clip, frame = language.nonzero(as_tuple=True)
        prediction = self.segment(
            adapted.features[language.flatten()],
            positions[clip, frame],
            None,
            adapted.prompts[clip],
        )
        return prediction, language, adapted

    def forward(
        self,
        frames: Tensor,
        texts: list[str],
        relevant: Tensor,
        positions: Tensor,
        target: Tensor | None = None,
        remember: Tensor | None = None,
    ) -> TGLOutput:
        """One training pass over B clips of T frames (teacher-forced M+).

        Args:
            frames: (B, T, 3, H, W) uint8, or float in [0, 1].
            texts: B sentences.
            relevant: (B, T) bool, M+. A clip without any takes the language path throughout.
            positions: (B, T) long frame numbers from the start of the stretch, ascending.
            target: (B, T, H, W) bool, true masks, and
            remember: (B,) bool, the clips whose memory is written from them; None: all.

        Shapes:
            masks (B, T, S/4, S/4), presence (B, T), relevance (B, T) or None for T = 1.
        """
        prefix, adapted = self.encode(frames, texts, positions)
        path = self.dual_path
        language = path.language(relevant | ~relevant.any(dim=1, keepdim=True))  # (B, T)
        features = adapted.features
        plain = ~path.adapted(language).flatten()
        if plain.any():
            features = _scatter(
                features, plain, self.extract_plain([level[plain] for level in prefix])
            )
        forced = None if target is None else (target, remember)
        masks, presence = segment_clips(
            path, self.vision, features, adapted.prompts, language, positions, forced
        )
        return TGLOutput(masks, presence, adapted.relevance, adapted)

    # --- files -----------------------------------------------------------------------------

    def save_pretrained(
        self,
        folder: str | Path,
        include_frozen: bool | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Writes config.json, model.safetensors and the tokenizer.

        Args:
            include_frozen: also write the frozen bases. By default they are left out only where
                they were loaded from the bases that the config names, as
                :meth:`from_pretrained` will do again.
            dtype: of the written floating-point tensors; by default as they are.
        """
        save_checkpoint(self, folder, include_frozen, dtype)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | str | None = None,
    ) -> TGL:
        """A network in eval mode, from a folder of :meth:`save_pretrained` or a hub id.

        Args:
            dtype: to compute in under autocast (bfloat16, float16), as SAM2's own predictor is
                run; weights stay float32, and None computes in float32 too.

        Raises:
            InputError: a file or tensor is missing, unexpected, or of another shape.
        """
        return load_checkpoint(cls, folder, device, dtype)


def _scatter(features: FrameFeatures, chosen: Tensor, values: FrameFeatures) -> FrameFeatures:
    """features with the frames where ``chosen`` (N,) is True replaced by ``values``, in order."""

    def put(x: Tensor, y: Tensor) -> Tensor:
        return x.masked_scatter(chosen.view(-1, 1, 1, 1), y.to(x.dtype))

    return FrameFeatures(
        put(features.top, values.top),
        tuple(put(x, y) for x, y in zip(features.fine, values.fine, strict=True)),
    )
