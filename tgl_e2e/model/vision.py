"""SAM2 as the network uses it; :mod:`tgl_e2e.model.build` builds it.

``SAM2Base`` holds the weights (its names are the names in our checkpoints); this wrapper calls its
parts one by one, because its own ``track_step`` takes neither text nor a memory of our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from sam2.modeling.sam2_utils import get_1d_sine_pe
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tgl_e2e.errors import InputError
from tgl_e2e.model.features import FrameFeatures, MaskPrediction
from tgl_e2e.model.memory import Memories, gather_entries, nearest
from tgl_e2e.model.memory_attention import MemoryTokens, attend_to_memory
from tgl_e2e.model.neck import quick_neck
from tgl_e2e.model.trunk import HieraTrunk, TimmTrunk, Trunk


class Vision(nn.Module):
    """Trunk, memory and mask decoder of SAM2, as separate steps.

    Args:
        sam: a SAM2Base, see :func:`tgl_e2e.model.build.build_sam`.
        num_memories: spatial memories that a frame attends to (at most 6).
        num_pointers: object pointers that a frame attends to.
        memory_pool: side of the squares of cells over which memories are averaged before they are
            kept (EfficientTAM pools in this manner); 1 keeps them as SAM2 does.
        padded: frames come padded with ``fill``, (3,) uint8, the colour nearest to the mean.
    """

    def __init__(
        self,
        sam: nn.Module,
        num_memories: int = 6,
        num_pointers: int = 16,
        memory_pool: int = 1,
        padded: bool = False,
    ) -> None:
        super().__init__()
        if not 1 <= num_memories < sam.num_maskmem:
            raise InputError(
                f"memory.num_memories is {num_memories}; SAM2 has embeddings for 1 to "
                f"{sam.num_maskmem - 1}"
            )
        if num_pointers < 2:
            raise InputError(
                f"memory.num_pointers is {num_pointers}; give at least 2 (distances "
                "are measured in num_pointers - 1)"
            )
        self.sam = sam
        self.num_memories = num_memories
        self.num_pointers = num_pointers
        self.memory_pool = memory_pool
        self.checkpointing = False
        self.image_size: int = sam.image_size
        self.dim: int = sam.hidden_dim
        self.stage_dims = tuple(sam.image_encoder.trunk.channel_list[::-1])
        trunk = sam.image_encoder.trunk
        # In a list, or a module would be registered, and its tensors saved, twice.
        self._trunk: list[Trunk] = [trunk if isinstance(trunk, TimmTrunk) else HieraTrunk(trunk)]
        mean, std = torch.tensor(self.trunk.mean), torch.tensor(self.trunk.std)
        self.register_buffer("mean", mean.view(3, 1, 1), persistent=False)
        self.register_buffer("std", std.view(3, 1, 1), persistent=False)
        self.fill = tuple((mean * 255).round().int().tolist()) if padded else None

    @property
    def trunk(self) -> Trunk:
        """The image encoder's trunk, stage by stage."""
        return self._trunk[0]

    # --- image encoder ---------------------------------------------------------------------

    def preprocess(self, frames: Tensor) -> Tensor:
        """Resizes to S x S without padding and normalises.

        Args:
            frames: (N, 3, H, W) uint8, or float in [0, 1].

        Returns:
            (N, 3, S, S)
        """
        scale = 255.0 if frames.dtype == torch.uint8 else 1.0
        x = frames.to(self.mean.dtype)
        if x.shape[-2:] != (self.image_size, self.image_size):
            x = F.interpolate(
                x, size=(self.image_size, self.image_size), mode="bilinear", antialias=True
            )
        normal = (x / scale - self.mean) / self.std
        if self.fill is None:
            return normal
        # The colour nearest to the mean counts as the mean, so that padding is zero, as SAM's is.
        return normal.masked_fill((x == x.new_tensor(self.fill)[:, None, None]).all(1, True), 0)

    def trunk_prefix(self, images: Tensor) -> list[Tensor]:
        """The first two stages, before the first adapter: the same for F_SAM and F_Adp.

        Args:
            images: (N, 3, S, S) normalised.

        Returns:
            [(N, S/4, S/4, C1), (N, S/8, S/8, C2)]
        """
        first = self.trunk_stage(self.trunk.embed(images), 0)
        return [first, self.trunk_stage(first, 1)]

    def trunk_stage(self, x: Tensor, stage: int) -> Tensor:
        """A stage (0-based) of the trunk: (N, H, W, C) -> (N, H', W', C')"""
        return self.trunk.stage(x, stage, self._recomputed)

    def _recomputed(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:
        """With ``checkpointing``, the backward pass computes activations again."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)

    def neck(self, stages: list[Tensor]) -> FrameFeatures:
        """FPN over the four stage outputs (N, H_k, W_k, C_k), finest first."""
        decoder, neck = self.sam.sam_mask_decoder, self.sam.image_encoder.neck
        if torch.is_grad_enabled() or {0, 1} & set(neck.fpn_top_down_levels):
            levels, _ = neck([rearrange(x, "n h w c -> n c h w") for x in stages])
            fine = (decoder.conv_s0(levels[0]), decoder.conv_s1(levels[1]))
            return FrameFeatures(top=levels[2], fine=fine)
        return quick_neck(neck, decoder, stages)

    def plain_stages(self, prefix: list[Tensor]) -> list[Tensor]:
        """The trunk's four stages without adapters; what ``prefix`` has of them is not computed
        again."""
        stages = list(prefix)
        while len(stages) < 4:
            stages.append(self.trunk_stage(stages[-1], len(stages)))
        return stages

    def plain_features(self, prefix: list[Tensor]) -> FrameFeatures:
        """F_SAM: the rest of the trunk without adapters."""
        return self.neck(self.plain_stages(prefix))

    # --- memory ----------------------------------------------------------------------------

    def read_memory(
        self, features: FrameFeatures, frames: Tensor, memories: Memories | None
    ) -> Tensor:
        """Memory attention over the nearest entries of each frame's bank (Eq. 4).

        Args:
            features: N frames.
            frames: (N,) long frame numbers, on the device of those in ``memories``.
            memories: N banks of E >= 1 entries, or None where nothing was written yet.

        Returns:
            F_mem (N, C, h, w)
        """
        top = features.top
        if memories is None:
            return top + self.sam.no_mem_embed.view(1, -1, 1, 1)
        height, width = top.shape[-2:]
        tokens = self._memory_tokens(memories, frames, (height, width))
        x = rearrange(top, "n c h w -> n (h w) c")
        pos = rearrange(self._position(top), "1 c h w -> 1 (h w) c")
        if torch.is_grad_enabled() and self.memory_pool == 1:
            attended = self._recomputed(self._sam_attention, x, pos, tokens)
        else:
            attended = self._recomputed(attend_to_memory, self.sam.memory_attention, x, pos, tokens)
        return rearrange(attended, "n (h w) c -> n c h w", h=height)

    def _sam_attention(self, x: Tensor, pos: Tensor, tokens: MemoryTokens) -> Tensor:
        """SAM2's own forward, what training runs."""

        def first(y: Tensor) -> Tensor:  # it wants tokens first
            return y.expand(len(x), -1, -1).transpose(0, 1)

        return self.sam.memory_attention(
            curr=first(x),
            curr_pos=first(pos),
            memory=torch.cat([first(tokens.spatial), first(tokens.pointers)]),
            memory_pos=torch.cat([first(tokens.spatial_pos[None]), first(tokens.pointer_pos)]),
            num_obj_ptr_tokens=tokens.pointers.shape[1],
        ).transpose(0, 1)

    def _position(self, top: Tensor) -> Tensor:
        """SAM2's sine position embedding, (1, C, h, w)."""
        return self.sam.image_encoder.neck.position_encoding(top[:1]).to(top.dtype).contiguous()

    def _memory_tokens(
        self, memories: Memories, frames: Tensor, size: tuple[int, int]
    ) -> MemoryTokens:
        """Tokens of the nearest entries, and their position embeddings.

        The temporal part of spatial tokens is by rank: the nearest entry gets index 0 of SAM2's
        embedding, as the previous frame does there; index 6, its conditioning frame, stays unused.
        Pointers are placed by signed distance / 15, clamped to +-1.
        """
        index = nearest(memories.frames, frames, max(self.num_memories, self.num_pointers))
        chosen = index[:, : self.num_memories]
        one_bank = memories.features.stride(0) == 0
        if len(frames) == 1 or (one_bank and bool((chosen == chosen[:1]).all())):
            spatial = gather_entries(memories.features[:1], chosen[:1])
        else:
            spatial = gather_entries(memories.features, chosen)  # (N, K, hw, Cm)
        grid = spatial.new_zeros(1, spatial.shape[-1], *size)
        where = self.sam.memory_encoder.position_encoding(grid).to(spatial.dtype)
        where = rearrange(self._pool(where), "1 c h w -> (h w) c").contiguous()
        when = self.sam.maskmem_tpos_enc[: chosen.shape[1], 0, 0]  # (K, Cm)

        index = index[:, : self.num_pointers]
        pointers = gather_entries(memories.pointers, index)  # (N, P, C)
        distance = frames[:, None] - gather_entries(memories.frames, index)  # (N, P)
        distance = distance.to(pointers.device).float() / (self.num_pointers - 1)
        if self.sam.add_tpos_enc_to_obj_ptrs:
            position = self.sam.obj_ptr_tpos_proj(
                get_1d_sine_pe(distance.clamp(-1, 1), dim=self.dim).to(pointers.dtype)
            )  # (N, P, Cm)
        else:  # SAM 2.0
            position = pointers.new_zeros(*index.shape, self.sam.mem_dim)
        split = self.dim // self.sam.mem_dim  # a pointer is as wide as several memory tokens
        return MemoryTokens(
            spatial=rearrange(spatial, "n k s c -> n (k s) c"),
            spatial_pos=rearrange(where[None] + when[:, None], "k s c -> (k s) c"),
            pointers=rearrange(pointers, "n p (s c) -> n (p s) c", s=split),
            pointer_pos=position.repeat_interleave(split, dim=1),
            pool=self.memory_pool,
        )

    def _pool(self, x: Tensor) -> Tensor:
        """(N, C, h, w) averaged over squares of ``memory_pool`` cells."""
        return x if self.memory_pool == 1 else F.avg_pool2d(x, self.memory_pool)

    def write_memory(
        self,
        features: FrameFeatures,
        prediction: MaskPrediction,
        frames: Tensor,
        target: Tensor | None = None,
        remember: Tensor | None = None,
    ) -> Memories:
        """Encodes N frames and their masks into one entry each (N banks, E = 1); in eval mode an
        absent object's mask is empty, as in SAM2.1.

        Args:
            target: (N, H, W) bool: true masks, remembered the way SAM2 takes a mask prompt in
                place of the predicted ones (training only)
            remember: (N,) bool, the frames that do so where ``target`` is given; None: all.
        """
        sam = self.sam
        size = (self.image_size, self.image_size)
        # SAM2.1 writes the gated mask; in training gating would cut the gradients.
        masks = prediction.masks if self.training else prediction.gated()
        logits = F.interpolate(masks[:, None], size=size, mode="bilinear", align_corners=False)
        present = prediction.presence > 0
        if target is not None:
            if remember is None:
                remember = torch.ones_like(present)
            soft = F.interpolate(target[:, None].float(), size=size, mode="area")
            logits = torch.where(remember[:, None, None, None], soft * 20.0 - 10.0, logits)
            present = torch.where(remember, target.flatten(1).any(dim=1), present)
        present = present.to(features.top.dtype)
        mask = torch.sigmoid(logits)
        mask = mask * sam.sigmoid_scale_for_mem_enc + sam.sigmoid_bias_for_mem_enc
        encoded = sam.memory_encoder(
            features.top, mask.to(features.top.dtype), skip_mask_sigmoid=True
        )["vision_features"]
        if sam.no_obj_embed_spatial is not None:  # SAM 2.1
            absent = (1 - present)[:, None, None, None]
            encoded = encoded + absent * sam.no_obj_embed_spatial[..., None, None]
        return Memories(
            features=rearrange(self._pool(encoded), "n c h w -> n 1 (h w) c"),
            pointers=prediction.pointers[:, None],
            frames=frames[:, None],
        )

    # --- mask decoder ----------------------------------------------------------------------

    def decode(
        self, fused: Tensor, features: FrameFeatures, prompt: Tensor | None
    ) -> MaskPrediction:
        """SAM's mask decoder, single-mask output (Eq. 5).

        Args:
            fused: F_mem (N, C, h, w).
            prompt: (N, 1, C) text prompt on M+ frames; None on M- frames.
        """
        sam, count = self.sam, len(fused)
        # An empty prompt is one padding point, to which SAM2's encoder adds another.
        points = fused.new_zeros(count, 1, 2, dtype=torch.float32)
        labels = torch.full((count, 1), -1, dtype=torch.int32, device=fused.device)
        sparse, dense = sam.sam_prompt_encoder(points=(points, labels), boxes=None, masks=None)
        if prompt is not None:
            sparse = torch.cat([sparse.to(prompt.dtype), prompt], dim=1)
        masks, _, tokens, presence = sam.sam_mask_decoder(
            image_embeddings=fused,
            image_pe=sam.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=list(features.fine),
        )
        pointers = sam.obj_ptr_proj(tokens[:, 0])
        if sam.pred_obj_scores:  # without, objects are taken to be always there
            present = (presence > 0).to(tokens.dtype)  # (N, 1), a hard choice as in SAM2
            pointers = present * pointers + (1 - present) * sam.no_obj_ptr
        return MaskPrediction(masks[:, 0].float(), presence[:, 0].float(), pointers)
