"""The one predicate that decides what is trained, frozen, saved and tested."""

from __future__ import annotations

from tgl_e2e.config import TGLConfig

STAGES = ("dense", "nouns", "image", "align", "video", "moments")
SINGLE_FRAMES = ("dense", "nouns", "image")  # neither memory nor TAM learn anything there

# The bases of the paper: SAM2's image encoder and prompt encoder, and RoBERTa. Around a timm trunk
# neither SAM2's neck nor its prompt encoder come from anywhere: they are trained.
_BASES = ("vision.sam.image_encoder", "vision.sam.sam_prompt_encoder", "text.roberta", "text.bert")
_TIMM_BASES = (
    "vision.sam.image_encoder.trunk",
    "text.roberta",
    "text.bert",
    "prior.class_embeddings",
    "prior.mean_embedding",
)

# Parts of SAM2 that no output of ours reads: a single mask comes from token 0, masks and points are
# never prompts, the IoU head chooses among masks that we do not make, and the first frame's
# features get no_mem_embed itself.
_UNUSED = (
    "vision.sam.mask_downsample",
    "vision.sam.no_mem_pos_enc",
    "vision.sam.sam_mask_decoder.iou_prediction_head",
    "vision.sam.sam_mask_decoder.output_hypernetworks_mlps.1",
    "vision.sam.sam_mask_decoder.output_hypernetworks_mlps.2",
    "vision.sam.sam_mask_decoder.output_hypernetworks_mlps.3",
    "vision.sam.sam_prompt_encoder.point_embeddings",
    "vision.sam.sam_prompt_encoder.mask_downscaling",
)

# What only remembered frames use: nothing of it takes part in the image and align stages.
_MEMORY = (
    "vision.sam.memory_attention",
    "vision.sam.memory_encoder",
    "vision.sam.maskmem_tpos_enc",
    "vision.sam.obj_ptr_proj",
    "vision.sam.obj_ptr_tpos_proj",
    "vision.sam.no_obj_ptr",
    "vision.sam.no_obj_embed_spatial",
)


# Dense pretraining of a network from scratch: the way from the image to the decoder's features.
_DENSE = (
    "vision.sam.image_encoder",
    "vision.sam.sam_mask_decoder.conv_s0",
    "vision.sam.sam_mask_decoder.conv_s1",
)

# How the prior enters F_Adp: not what it recognises.
_STEERING = ("prior.learned.top", "prior.learned.last")


def _within(name: str, parts: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(part + ".") for part in parts)


def is_base(name: str, config: TGLConfig) -> bool:
    """Whether a parameter or module belongs to the bases that are loaded ready-made."""
    return _within(name, _BASES if config.vision.trunk is None else _TIMM_BASES)


def is_trained(name: str, stage: str, config: TGLConfig) -> bool:
    """Whether a parameter of :class:`TGL` is trained in a stage, one of STAGES."""
    assert stage in STAGES, stage
    freeze_bases = config.freeze_bases
    if stage == "dense":
        return not freeze_bases and _within(name, _DENSE)
    if stage == "nouns":
        return _within(name, ("prior.learned",)) and not _within(name, _STEERING)
    if stage == "moments":  # the TAM alone: masks stay as they are
        return _within(name, ("tam",))
    if _within(name, (*_UNUSED, "conditional")) or (freeze_bases and is_base(name, config)):
        return False
    if stage == "image":
        return not _within(name, (*_MEMORY, "tam"))
    return stage == "video" or not _within(name, _MEMORY)
