"""The dual path: who enters the bank, who sees what, and that batching changes nothing."""

import pytest
import torch
from networks import difference, drawn_up_projections

from tgl_e2e import TGL
from tgl_e2e.model.memory import Memories
from tgl_e2e.model.vision import Vision

TEXTS = ["the red star that jumps", "a circle", "the blue thing moving to the left and stopping"]
OTHER_TEXTS = ["the white bird", "all squares that spin around", "green"]
# Three clips: two M+ frames, none at all, five. Frame numbers are uneven and tell clips apart.
RELEVANT = torch.tensor(
    [
        [False, True, False, False, True, False, False, False],
        [False] * 8,
        [True, False, True, True, False, False, True, True],
    ]
)
# As many M+ frames in each clip, but others.
ALIKE = torch.tensor(
    [
        [False, True, False, False, True, False, False, False],
        [True, False, False, False, False, False, True, False],
        [False, False, True, True, False, False, False, False],
    ]
)
POSITIONS = torch.tensor(
    [
        [0, 3, 4, 9, 12, 20, 21, 30],
        [100, 101, 105, 106, 107, 111, 120, 131],
        [202, 203, 204, 207, 211, 219, 226, 227],
    ]
)


@pytest.fixture
def configured(tiny, monkeypatch):
    """Gives the network other memory settings; those are looked up when it runs."""

    def configure(**memory) -> TGL:
        changes = {f"memory.{name}": value for name, value in memory.items()}
        monkeypatch.setattr(tiny, "config", tiny.config.with_values(**changes))
        return tiny

    return configure


def run(model, frames, texts=TEXTS, relevant=RELEVANT, positions=POSITIONS, target=None):
    with torch.no_grad():
        return model(frames, list(texts), relevant, positions, target)


@pytest.fixture
def target():
    target = torch.zeros(3, 8, 128, 128, dtype=torch.bool)
    target[0, :, 20:60, 30:90] = True
    target[2, 2:, 64:100, 10:50] = True
    return target


# --- who enters the bank, and who sees what ------------------------------------------------------


@pytest.fixture
def watched(monkeypatch):
    """What each frame reads, in the order of reading, and which frames are written."""
    seen, written = {}, []
    read, write = Vision.read_memory, Vision.write_memory

    def read_memory(self, features, frames, memories):
        for n, frame in enumerate(frames.tolist()):
            assert frame not in seen, "a frame was segmented twice"
            seen[frame] = [] if memories is None else memories.frames[n].tolist()
        return read(self, features, frames, memories)

    def write_memory(self, features, prediction, frames, target=None, remember=None):
        written.extend(frames.tolist())
        return write(self, features, prediction, frames, target, remember)

    monkeypatch.setattr(Vision, "read_memory", read_memory)
    monkeypatch.setattr(Vision, "write_memory", write_memory)
    return seen, written


def language_frames(row: int, relevant=RELEVANT) -> list[int]:
    chosen = relevant[row] if relevant[row].any() else torch.ones(8, dtype=torch.bool)
    return POSITIONS[row][chosen].tolist()


@pytest.mark.parametrize("relevant", [RELEVANT, ALIKE], ids=["different", "alike"])
def test_relevant_frames_alone_enter_the_bank(tiny, watched, tiny_frames, relevant):
    run(tiny, tiny_frames, relevant=relevant)
    seen, written = watched
    banks = [language_frames(row, relevant) for row in range(3)]
    assert sorted(written) == sorted(banks[0] + banks[1] + banks[2])
    for row, bank in enumerate(banks):
        for frame in POSITIONS[row].tolist():
            if frame in bank:  # earlier ones
                assert seen[frame] == [f for f in bank if f < frame]
            else:  # all, before and after
                assert seen[frame] == bank


@pytest.mark.parametrize("memory", [{"bank": "all"}, {"dual_path": False}])
def test_ablations_write_every_frame_in_time_order(configured, watched, tiny_frames, memory):
    run(configured(**memory), tiny_frames)
    seen, written = watched
    assert sorted(written) == POSITIONS.flatten().tolist()
    for row in POSITIONS.tolist():
        for i, frame in enumerate(row):
            assert seen[frame] == row[:i]


def prompted(model, frames, monkeypatch, **arguments) -> tuple[int, int]:
    """Numbers of frames decoded with and without the text token."""
    counts = {True: 0, False: 0}
    decode = Vision.decode

    def counting(self, fused, features, prompt):
        counts[prompt is not None] += len(fused)
        return decode(self, fused, features, prompt)

    with monkeypatch.context() as patch:
        patch.setattr(Vision, "decode", counting)
        run(model, frames, **arguments)
    return counts[True], counts[False]


def test_text_prompts_language_frames_only(configured, tiny_frames, monkeypatch):
    assert prompted(configured(), tiny_frames, monkeypatch) == (2 + 8 + 5, 6 + 3)
    assert prompted(configured(bank="all"), tiny_frames, monkeypatch) == (15, 9)
    assert prompted(configured(dual_path=False), tiny_frames, monkeypatch) == (24, 0)


def test_clip_without_moments_takes_the_language_path_throughout(tiny, tiny_frames):
    everywhere = torch.ones_like(RELEVANT)
    found = run(tiny, tiny_frames, relevant=torch.zeros_like(RELEVANT))
    assert torch.equal(found.masks, run(tiny, tiny_frames, relevant=everywhere).masks)
    assert difference(found.masks, run(tiny, tiny_frames).masks) > 1e-2


@pytest.mark.parametrize("mfe", [True, False])
def test_silent_frames_read_plain_features_with_mfe(configured, tiny_frames, monkeypatch, mfe):
    model, given = configured(mfe=mfe), {}
    read = Vision.read_memory

    def read_memory(self, features, frames, memories):
        given.update(zip(frames.tolist(), features.top, strict=True))
        return read(self, features, frames, memories)

    monkeypatch.setattr(Vision, "read_memory", read_memory)
    with torch.no_grad(), drawn_up_projections(model):
        adapted = run(model, tiny_frames).adapted.features.top
        plain = model.extract_plain(model.encode_prefix(tiny_frames.flatten(0, 1))).top
    for i, frame in enumerate(POSITIONS.flatten().tolist()):
        language = frame in language_frames(i // 8)
        expected = plain if mfe and not language else adapted
        assert difference(given[frame], expected[i]) < 1e-5
    assert difference(plain, adapted) > 0.1


# --- what depends on what ------------------------------------------------------------------------


def changed_frames(model, frames, clip: int, at: int, **arguments) -> list[int]:
    """Frames of a clip whose mask changes when the picture of one of them does."""
    other = frames.clone()
    other[clip, at] = 255 - other[clip, at]
    before, after = run(model, frames, **arguments).masks, run(model, other, **arguments).masks
    moved = (before - after).abs().amax(dim=(2, 3)) > 1e-5
    assert not moved[[c for c in range(3) if c != clip]].any()
    return moved[clip].nonzero().squeeze(1).tolist()


def test_other_frames_do_not_depend_on_a_silent_frame(configured, tiny_frames):
    """Untrained adapters: no frame hears of another but through memory."""
    assert changed_frames(configured(), tiny_frames, 0, 3) == [3]
    assert changed_frames(configured(mfe=False), tiny_frames, 0, 3) == [3]
    # with every frame in the bank, later ones do
    assert changed_frames(configured(bank="all"), tiny_frames, 0, 3) == [3, 4, 5, 6, 7]


def test_relevant_frames_depend_on_earlier_ones_only(tiny, tiny_frames):
    # clip 2 writes 0, 2, 3, 6, 7: a change at 3 reaches later writers and all silent frames
    assert changed_frames(tiny, tiny_frames, 2, 3) == [1, 3, 4, 5, 6, 7]
    assert changed_frames(tiny, tiny_frames, 2, 7) == [1, 4, 5, 7]
    assert changed_frames(tiny, tiny_frames, 1, 5) == [5, 6, 7]


@pytest.fixture
def held_bank(monkeypatch):
    """The bank's entries depend on frame numbers alone."""

    def write_memory(self, features, prediction, frames, target=None, remember=None):
        generator = torch.Generator().manual_seed(0)
        spatial = torch.randn(300, 1, 64, 64, generator=generator)
        pointers = torch.randn(300, 1, 128, generator=generator)
        return Memories(spatial[frames], pointers[frames], frames[:, None])

    monkeypatch.setattr(Vision, "write_memory", write_memory)


@pytest.mark.parametrize("bank", ["relevant", "all"])
def test_text_never_reaches_a_silent_frame(configured, held_bank, tiny_frames, bank):
    """Same M+, same bank, other words: same masks on M- frames, bit by bit."""
    model = configured(bank=bank)
    with drawn_up_projections(model):
        first, second = (run(model, tiny_frames, texts).masks for texts in (TEXTS, OTHER_TEXTS))
    silent = ~RELEVANT & RELEVANT.any(dim=1, keepdim=True)
    assert torch.equal(first[silent], second[silent])
    moved = (first - second).abs().amax(dim=(2, 3))
    assert (moved[~silent] > 1e-3).all()


def test_without_mfe_text_reaches_silent_frames_through_features(
    configured, held_bank, tiny_frames
):
    model = configured(mfe=False)
    with drawn_up_projections(model):
        first, second = (run(model, tiny_frames, texts).masks for texts in (TEXTS, OTHER_TEXTS))
    assert ((first - second).abs().amax(dim=(2, 3)) > 1e-3).all()


def test_true_masks_make_spatial_memory_free_of_text_and_prediction(
    tiny, tiny_frames, target, monkeypatch
):
    """Teacher forcing holds for the spatial memories; pointers stay those of the prediction."""
    written = []
    write = Vision.write_memory

    def write_memory(self, *arguments):
        written.append(write(self, *arguments))
        return written[-1]

    monkeypatch.setattr(Vision, "write_memory", write_memory)
    banks = {}
    for name, texts, given in (
        ("a", TEXTS, target),
        ("b", OTHER_TEXTS, target),
        ("free", TEXTS, None),
    ):
        written.clear()
        run(tiny, tiny_frames, texts, target=given)
        frames = torch.cat([entry.frames.flatten() for entry in written]).argsort()
        banks[name] = (
            torch.cat([entry.features for entry in written])[frames],
            torch.cat([entry.pointers for entry in written])[frames],
        )
    assert torch.equal(banks["a"][0], banks["b"][0])
    assert difference(banks["a"][1], banks["b"][1]) > 1e-3
    assert difference(banks["a"][0], banks["free"][0]) > 1e-2


def test_true_masks_are_remembered_clip_by_clip(tiny, tiny_frames, target):
    """Which clips do so is each clip's own matter: the others are as if none did."""
    remember = torch.tensor([True, False, True])
    mixed = tiny(tiny_frames, TEXTS, RELEVANT, POSITIONS, target, remember).masks
    free, forced = run(tiny, tiny_frames).masks, run(tiny, tiny_frames, target=target).masks
    assert torch.allclose(mixed[remember], forced[remember], atol=1e-5)
    assert torch.allclose(mixed[~remember], free[~remember], atol=1e-5)


def test_true_masks_change_what_is_carried(tiny, tiny_frames, target):
    free, forced = run(tiny, tiny_frames), run(tiny, tiny_frames, target=target)
    moved = (free.masks - forced.masks).abs().amax(dim=(2, 3)) > 1e-4
    first = torch.zeros_like(moved)
    first[[0, 1, 2], [1, 0, 0]] = True  # the first written frame has nothing to remember
    assert torch.equal(moved, ~first)


@torch.no_grad()
def test_silent_frames_do_not_depend_on_their_batch(tiny, tiny_frames):
    plain = tiny.extract_plain(tiny.encode_prefix(tiny_frames[0]))
    written = torch.tensor([1, 4])
    prediction = tiny.segment(plain[written], POSITIONS[0][written], None, None)
    entries = tiny.vision.write_memory(plain[written], prediction, POSITIONS[0][written])
    bank = Memories.cat([entries[:1], entries[1:2]], dim=1)

    def masks(chosen):
        chosen = torch.tensor(chosen)
        same = torch.zeros_like(chosen)
        return tiny.segment(plain[chosen], POSITIONS[0][chosen], bank[same], None).masks

    together = masks([0, 2, 3, 5, 6, 7])
    assert difference(masks([6]), together[4:5]) < 1e-5
    assert difference(masks([7, 3, 0]), together[[5, 2, 0]]) < 1e-5


def test_place_in_time_counts_as_distance(tiny, tiny_frames):
    masks = run(tiny, tiny_frames).masks
    assert difference(run(tiny, tiny_frames, positions=POSITIONS + 40).masks, masks) < 1e-5
    farther = POSITIONS.clone()
    farther[0, 3] += 1  # seen from 3 and 12, well within 15
    moved = (run(tiny, tiny_frames, positions=farther).masks - masks).abs().amax(dim=(2, 3)) > 1e-5
    assert moved.nonzero().tolist() == [[0, 3]]


# --- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "relevant", "forced"),
    [
        ({}, RELEVANT, False),
        ({}, RELEVANT, True),
        ({}, ALIKE, False),
        ({}, ALIKE, True),
        ({"mfe": False}, RELEVANT, False),
        ({"mfe": False}, ALIKE, False),
        ({"bank": "all"}, RELEVANT, False),
        ({"bank": "all"}, RELEVANT, True),
        ({"bank": "all", "mfe": False}, RELEVANT, False),
        ({"dual_path": False}, RELEVANT, False),
    ],
)
def test_batch_equals_each_clip_alone(configured, tiny_frames, target, memory, relevant, forced):
    model = configured(**memory)
    given = target if forced else None
    with drawn_up_projections(model):
        together = run(model, tiny_frames, relevant=relevant, target=given)
        for row in range(3):
            one = slice(row, row + 1)
            alone = run(
                model,
                tiny_frames[one],
                TEXTS[one],
                relevant[one],
                POSITIONS[one],
                None if given is None else given[one],
            )
            assert difference(alone.masks, together.masks[one]) < 3e-5
            assert difference(alone.presence, together.presence[one]) < 3e-5
            assert difference(alone.relevance, together.relevance[one]) < 3e-5
    assert together.masks.std() > 0.3


def test_order_of_clips_does_not_matter(tiny, tiny_frames):
    order = torch.tensor([2, 0, 1])
    with drawn_up_projections(tiny):
        masks = run(tiny, tiny_frames).masks
        turned = run(
            tiny, tiny_frames[order], [TEXTS[i] for i in order], RELEVANT[order], POSITIONS[order]
        ).masks
    assert difference(turned, masks[order]) < 3e-5


def test_shapes_and_dtypes(tiny, tiny_frames):
    output = run(tiny, tiny_frames)
    assert output.masks.shape == (3, 8, 32, 32) and output.masks.dtype == torch.float32
    assert output.presence.shape == output.relevance.shape == (3, 8)
    assert len(output.adapted.features) == 24 and output.adapted.prompts.shape == (3, 1, 128)
    assert output.adapted.visual.shape == (3, 8, 4, 4, 384)
    floats = run(tiny, tiny_frames / 255)
    assert difference(floats.masks, output.masks) < 1e-4


def test_grounding_is_the_language_path_without_memory(tiny, tiny_frames):
    """M+ frames one by one, or all where a clip has none; the first of a clip as in a full pass."""
    with torch.no_grad(), drawn_up_projections(tiny):
        prediction, language, adapted = tiny.ground(tiny_frames, TEXTS, RELEVANT, POSITIONS)
        full = run(tiny, tiny_frames)
        prompts = adapted.prompts.repeat_interleave(torch.tensor([2, 8, 5]), dim=0)
        alone = tiny.segment(
            adapted.features[language.flatten()], POSITIONS[language], None, prompts
        )
    assert torch.equal(language, RELEVANT | torch.tensor([[False], [True], [False]]))
    assert difference(prediction.masks, alone.masks) < 1e-5
    assert difference(adapted.relevance, full.relevance) < 1e-5
    for row, (at, first) in enumerate(((0, 1), (2, 0), (10, 0))):
        assert difference(prediction.masks[at], full.masks[row, first]) < 1e-5
        assert difference(prediction.masks[at + 1], full.masks[row][language[row]][1]) > 1e-3


def test_images_remember_nothing(tiny, tiny_frames, watched):
    output = run(tiny, tiny_frames[:, :1], relevant=RELEVANT[:, :1], positions=POSITIONS[:, :1])
    assert output.relevance is None and output.masks.shape == (3, 1, 32, 32)
    seen, written = watched
    assert written == [] and set(map(len, seen.values())) == {0}


def test_half_precision_computes_nearly_the_same(tiny, tiny_frames, monkeypatch):
    masks = run(tiny, tiny_frames).masks
    monkeypatch.setattr(tiny, "compute_dtype", torch.bfloat16)
    with tiny.autocast():
        half = run(tiny, tiny_frames)
    assert half.masks.dtype == torch.float32 and half.relevance.dtype == torch.float32
    error = (half.masks - masks).abs().mean()
    assert 0 < error < 0.1 * masks.std()
