"""The segmenter on a tiny network of random weights: what must hold whatever the weights are."""

import numpy as np
import pytest
import torch

from tgl_e2e import TGL, TGLConfig, VideoSegmenter
from tgl_e2e.errors import InputError
from tgl_e2e.inference.block_encoder import BlockEncoder
from tgl_e2e.model.memory import MemoryBank
from tgl_e2e.video.reader import open_video

TEXTS = ["the red star", "the blue thing that moves to the left"]


def build(**changes) -> TGL:
    torch.manual_seed(0)
    config = TGLConfig.from_preset("tiny").with_values(**{"block": 32} | changes)
    model = TGL(config, pretrained=False)
    for adapter in model.adapters:  # as after training: both paths and all texts must differ
        torch.nn.init.normal_(adapter.visual_up.weight, std=0.2)
        torch.nn.init.normal_(adapter.text_up.weight, std=0.2)
    # SAM2's presence head would hide all masks of a random network, or none.
    presence = model.vision.sam.sam_mask_decoder.pred_obj_score_head
    torch.nn.init.constant_(presence.layers[-1].bias, 9)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> TGL:
    return build()


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    """75 frames of a moving square on noise: two blocks of 32 and a short one."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 80, (75, 48, 60, 3), dtype=np.uint8)
    for t in range(75):
        frames[t, 10:25, t % 45 : t % 45 + 15] = (220, 30, 40)
    return frames


def masks(segmentation) -> np.ndarray:
    return np.stack([segmentation.mask(i) for i in range(segmentation.num_frames)])


def threshold_between(model, video, texts, tam_stride=1) -> float:
    """A threshold that splits the frames, so that both paths run; in the widest gap near the
    middle, because a frame whose relevance it hits would be M+ or not by rounding."""
    found = VideoSegmenter(model, tam_stride=tam_stride).segment(video, texts)
    scores = np.sort(np.concatenate([s.relevance for s in found]))
    middle = scores[len(scores) // 3 : 2 * len(scores) // 3]
    at = np.diff(middle).argmax()
    return float(middle[at : at + 2].mean())


def test_contract(model, video):
    threshold = threshold_between(model, video, TEXTS)
    found = VideoSegmenter(model, threshold=threshold).segment(video, TEXTS)
    assert [s.text for s in found] == TEXTS
    for s in found:
        assert s.num_frames == 75 == len(s.rle) == len(s.relevance) and s.size == (48, 60)
        assert s.frames.tolist() == list(range(75))
        assert s.relevance.dtype == np.float32 and 0 <= s.relevance.min() <= s.relevance.max() <= 1
        inside = np.zeros(75, bool)
        for start, end in s.moments:
            inside[start : end + 1] = True
        assert (inside == (s.relevance >= threshold)).all()
        assert 0 < inside.sum() < 75
        assert masks(s).any(axis=(1, 2)).all(), "every frame got a mask from one of the paths"


def test_batching_and_company_do_not_change_a_result(model, video):
    threshold = threshold_between(model, video, TEXTS)
    together = VideoSegmenter(model, threshold=threshold).segment(video, TEXTS)
    alone = [
        VideoSegmenter(model, threshold=threshold, batch_frames=1).segment(video, [text])[0]
        for text in TEXTS
    ]
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a.relevance - b.relevance).max() < 1e-5
        assert (masks(a) == masks(b)).mean() > 0.9999


def test_stream_gives_the_same_masks_once_something_was_found(model, video):
    spans = [(3, 10), (40, 44)]
    found = VideoSegmenter(model).segment(video, TEXTS, moments=spans)
    frames = list(VideoSegmenter(model).stream(video, TEXTS, moments=spans))
    assert [f.frame for f in frames] == list(range(75))
    for i, frame in enumerate(frames):
        assert frame.masks.shape == (2, 48, 60)
        for n in range(2):
            assert (frame.masks[n] == found[n].mask(i)).all()


def test_stream_is_empty_before_the_first_moment_block(model, video):
    frames = list(VideoSegmenter(model).stream(video, TEXTS[:1], moments=[(40, 50)]))
    assert not any(f.masks.any() for f in frames[:32])
    assert all(f.masks.any() for f in frames[32:])


def test_frames_before_the_first_moment_are_carried_back_to(model, video):
    found = VideoSegmenter(model).segment(video, TEXTS[:1], moments=[(70, 72)])[0]
    assert masks(found).any(axis=(1, 2)).all()
    assert found.moments == [(70, 72)]


def test_text_reaches_relevant_frames_only(model, video):
    """With the bank frozen to the same entries, another sentence changes M+ masks alone."""
    spans = [(0, 4)]
    a, b = VideoSegmenter(model).segment(video, TEXTS, moments=spans)
    assert any((a.mask(i) != b.mask(i)).any() for i in range(5))


def test_nothing_found_means_empty_masks_unless_a_target_is_promised(model, video):
    found = VideoSegmenter(model, threshold=1.0).segment(video, TEXTS[:1])[0]
    assert found.moments == [] and not masks(found).any()
    found = VideoSegmenter(model, threshold=1.0, always_target=True).segment(video, TEXTS[:1])[0]
    assert sum(end - start + 1 for start, end in found.moments) == 4
    best = np.sort(np.argsort(-found.relevance, kind="stable")[:4])
    assert best.tolist() == [t for s, e in found.moments for t in range(s, e + 1)]
    assert masks(found).any(axis=(1, 2)).all()


@pytest.mark.parametrize("present_only", [False, True])
def test_frames_without_the_object_are_remembered_or_not(video, monkeypatch, present_only):
    model = build(**{"memory.present_only": present_only})
    remembered, write = [], MemoryBank.write

    def segment(features, numbers, memories, prompts):
        found = plain(features, numbers, memories, prompts)
        if prompts is not None:  # seen in every third frame of M+
            found.presence[:] = torch.where(numbers % 3 == 0, 9.0, -9.0)
        return found

    plain = model.segment
    monkeypatch.setattr(model, "segment", segment)
    monkeypatch.setattr(
        MemoryBank,
        "write",
        lambda bank, entry: (remembered.append(entry.frames.item()), write(bank, entry)),
    )
    found = VideoSegmenter(model).segment(video, TEXTS[:1], moments=[(31, 40), (61, 62)])[0]
    inside = [*range(31, 41), 61, 62]
    assert remembered == [t for t in inside if t % 3 == 0 or not present_only]
    shown = masks(found).any(axis=(1, 2))
    # Those that are not remembered are M- after all; the others stay as language left them: empty.
    assert shown.tolist() == [present_only or t not in inside or t % 3 == 0 for t in range(75)]
    # With nothing to remember there is nothing to carry, unless a target is promised.
    for promised in (False, True):
        segmenter = VideoSegmenter(model, always_target=promised)
        found = segmenter.segment(video, TEXTS[:1], moments=[(31, 32)])[0]
        assert masks(found).any() == (promised or not present_only)
    # Side by side, banks of different length: as alone.
    given = {TEXTS[0]: [(31, 40)], TEXTS[1]: [(4, 5), (34, 36)]}
    together = VideoSegmenter(model).segment(video, TEXTS, moments=given)
    for text, shown in zip(TEXTS, together, strict=True):
        alone = VideoSegmenter(model).segment(video, [text], moments=given[text])[0]
        assert (masks(shown) == masks(alone)).mean() > 0.9999


def begun_among(near, video):
    """Networks without and with a share of the highest relevance that so many frames reach, the
    share, and a threshold between relevances."""
    plain = build(**{"memory.anchor": 0.0})
    scores = np.sort(VideoSegmenter(plain).segment(video, TEXTS[:1])[0].relevance)
    share = 0.99999 * float(scores[-near] / scores[-1])
    return plain, build(**{"memory.anchor": share}), share, threshold_between(plain, video, TEXTS)


@pytest.mark.parametrize("near", [1, 4])
def test_memory_begins_where_the_network_is_most_certain(video, monkeypatch, near):
    _, model, share, threshold = begun_among(near, video)
    written, write = [], MemoryBank.write
    monkeypatch.setattr(
        MemoryBank,
        "write",
        lambda bank, entry: (written.append((bank, entry.frames.item())), write(bank, entry)),
    )
    found = VideoSegmenter(model, threshold=threshold).segment(video, TEXTS[:1])[0]
    relevant = np.flatnonzero(found.relevance >= threshold).tolist()
    highest = found.relevance.max()
    anchor = next(t for t in relevant if found.relevance[t] >= share * highest)
    assert relevant[0] < anchor, "the video asks the question"
    after, before = [t for t in relevant if t >= anchor], [t for t in relevant if t < anchor]
    # What an earlier block had begun with is forgotten, and comes again in the second reading.
    assert [t for _, t in written][-len(relevant) :] == [*after, *before]
    assert masks(found).any(axis=(1, 2)).all()


def test_sentences_side_by_side_begin_memory_as_alone(video):
    video = video[:40]  # two blocks
    plain, model, _, threshold = begun_among(1, video)
    segmenter = VideoSegmenter(model, threshold=threshold)
    together = segmenter.segment(video, TEXTS)
    first, highest = np.transpose(
        [((s.relevance >= threshold).argmax(), s.relevance.argmax()) for s in together]
    )
    assert (first < highest).any() and len(set(highest)) > 1, "the video asks the question"
    for text, shown in zip(TEXTS, together, strict=True):
        alone = segmenter.segment(video, [text])[0]
        assert (masks(shown) == masks(alone)).mean() > 0.9999
    # Moments from outside are trusted, and a stream cannot wait.
    for moments in ("all", "top-k:5", [(4, 6), (31, 35)]):
        one, other = (
            VideoSegmenter(m).segment(video, TEXTS[:1], moments=moments)[0] for m in (model, plain)
        )
        assert one.rle == other.rle
    streamed, usual = (
        list(VideoSegmenter(m, threshold=threshold).stream(video, TEXTS)) for m in (model, plain)
    )
    assert all((a.masks == b.masks).all() for a, b in zip(streamed, usual, strict=True))


def test_where_the_most_certain_frame_shows_nothing_another_begins(video, monkeypatch):
    model = build(**{"memory.anchor": 1.0, "memory.present_only": True})
    with torch.no_grad():  # 1 - s_t: the most certain frame then lies in the first block
        model.tam.head.weight.neg_()
        model.tam.head.bias.neg_()
    threshold = threshold_between(model, video, TEXTS)
    scores = VideoSegmenter(model).segment(video, TEXTS[:1])[0].relevance
    relevant = np.flatnonzero(scores >= threshold)
    assert scores[relevant].argmax() < (relevant < 32).sum(), "the video asks the question"
    assert (relevant >= 32).any(), "and can answer it"

    def segment(features, numbers, memories, prompts):
        found = plain(features, numbers, memories, prompts)
        if prompts is not None:
            found.presence[:] = torch.where(numbers < 32, -9.0, 9.0)  # in later blocks alone
        return found

    plain = model.segment
    monkeypatch.setattr(model, "segment", segment)
    found = VideoSegmenter(model, threshold=threshold).segment(video, TEXTS[:1])[0]
    assert masks(found).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    "scores, absent, written, readings",
    [
        ({9: 0.7, 11: 0.9}, [], [11, 9], 2),
        (
            {9: 0.7, 18: 0.8},
            [],
            [9, 18, 9],
            2,
        ),  # in another block: what was remembered is put aside
        ({1: 0.7, 18: 0.72}, [], [1, 18], 1),
        # Where nothing is found at the anchor, at the next most certain frame.
        ({9: 0.6, 12: 0.99}, [12], [9], 2),
        ({9: 0.99, 10: 0.51, 11: 0.98, 20: 0.55}, [9], [11, 20, 10], 2),
        ({9: 0.55, 10: 0.9, 12: 0.99}, [12], [10, 9], 2),
        ({1: 0.7, 17: 0.9, 18: 0.99}, [18], [1, 17, 1], 2),
        ({1: 0.7, 18: 0.99}, [18], [1], 1),  # or what was remembered is taken up again
        ({9: 0.99, 11: 0.7, 17: 0.6, 25: 0.55}, [9], [11, 17, 25], 2),
        ({9: 0.99, 11: 0.7}, [9, 11], [], 1),
        ({5: 0.9}, [], [5], 1),  # frames before it have nothing to wait for
        ({30: 0.9}, [], [30], 2),
    ],
)
def test_where_memory_begins(video, monkeypatch, scores, absent, written, readings):
    model = build(**{"block": 8, "memory.anchor": 0.95, "memory.present_only": True})
    relevance = np.full(len(video), 0.1, np.float32)
    relevance[list(scores)] = list(scores.values())
    score, segment, write = BlockEncoder._score, model.segment, MemoryBank.write

    def scored(encoder, block, choose, encoded):
        return np.broadcast_to(
            relevance[block.numbers], score(encoder, block, choose, encoded).shape
        )

    def segmented(features, numbers, memories, prompts):
        found = segment(features, numbers, memories, prompts)
        if prompts is not None:
            looked.extend(numbers.tolist())
            hidden = torch.isin(numbers, torch.tensor(absent, dtype=numbers.dtype))
            found.presence[:] = torch.where(hidden, -9.0, 9.0)
        return found

    order, looked, stages = [], [], set()
    monkeypatch.setattr(BlockEncoder, "_score", scored)
    monkeypatch.setattr(model, "segment", segmented)
    monkeypatch.setattr(
        MemoryBank,
        "write",
        lambda bank, entry: (order.append(entry.frames.item()), write(bank, entry)),
    )
    segmenter = VideoSegmenter(model, progress=lambda done, total, stage: stages.add(stage))
    found = segmenter.segment(video[:32], TEXTS[:1])[0]
    assert order == written
    assert len(stages) == readings
    if not written:
        assert sorted(looked) == sorted(scores), "once each"
    assert masks(found).any(axis=(1, 2)).all() == bool(written)


def test_top_k_and_hybrid(model, video):
    auto = VideoSegmenter(model).segment(video, TEXTS)
    top = VideoSegmenter(model).segment(video, TEXTS, moments="top-k:5")
    for a, t in zip(auto, top, strict=True):
        assert np.abs(a.relevance - t.relevance).max() < 1e-6
        chosen = [x for s, e in t.moments for x in range(s, e + 1)]
        assert chosen == sorted(np.argsort(-t.relevance, kind="stable")[:5].tolist())
    from tgl_e2e.moments import parse_moments

    hybrid = VideoSegmenter(model).segment(video, TEXTS, moments=parse_moments([(20, 30)], k=3))
    for h in hybrid:
        chosen = [x for s, e in h.moments for x in range(s, e + 1)]
        inside = 20 + np.argsort(-h.relevance[20:31], kind="stable")[:3]
        assert chosen == sorted(inside.tolist())


def test_all_takes_every_frame(model, video):
    found = VideoSegmenter(model).segment(video, TEXTS[:1], moments="all")[0]
    assert found.moments == [(0, 74)]


def test_start_end_stride_keep_original_numbers(model, video):
    found = VideoSegmenter(model).segment(
        video, TEXTS[:1], moments=[(20, 40)], start=10, end=60, stride=3
    )[0]
    assert found.frames.tolist() == list(range(10, 60, 3))
    assert found.moments == [(22, 40)]


def test_intervals_outside_the_video(model, video):
    with pytest.raises(InputError, match="outside the video"):
        VideoSegmenter(model).segment(video, TEXTS[:1], moments=[(70, 75)])


def test_intervals_per_text_one_of_them_empty(model, video):
    spans = {TEXTS[0]: [], TEXTS[1]: [(12, 14)]}
    first, second = VideoSegmenter(model).segment(video, TEXTS, moments=spans)
    assert first.moments == [] and not masks(first).any()
    assert second.moments == [(12, 14)] and masks(second).any(axis=(1, 2)).all()


def test_top_k_of_a_shorter_video(model, video):
    found = VideoSegmenter(model).segment(video[:5], TEXTS[:1], moments="top-k:9")[0]
    assert found.moments == [(0, 4)]


def test_a_network_in_training_mode_gives_the_same_masks(video):
    fresh = build().train()
    again = VideoSegmenter(fresh).segment(video[:10], TEXTS[:1], moments=[(0, 4)])[0]
    plain = VideoSegmenter(build()).segment(video[:10], TEXTS[:1], moments=[(0, 4)])[0]
    assert (masks(again) == masks(plain)).all()


def test_a_network_can_be_trained_after_it_was_run(video):
    fresh = build()
    VideoSegmenter(fresh).segment(video[:9], TEXTS[:1], moments=[(0, 4)])
    output = fresh(
        torch.from_numpy(video[None, :8]).permute(0, 1, 4, 2, 3),
        TEXTS[:1],
        torch.ones(1, 8, dtype=torch.bool),
        torch.arange(8)[None],
    )
    output.masks.sum().backward()


def test_bfloat16_gives_nearly_the_same_masks(video):
    half = build()
    half.compute_dtype = torch.bfloat16
    a = VideoSegmenter(build()).segment(video[:20], TEXTS[:1], moments=[(0, 4)])[0]
    b = VideoSegmenter(half).segment(video[:20], TEXTS[:1], moments=[(0, 4)])[0]
    assert 0.8 < (masks(a) == masks(b)).mean() < 1


def test_more_texts_than_run_side_by_side(model, video):
    texts = ["one", "two", "three"]
    a = VideoSegmenter(model, max_texts=2).segment(video[:12], texts, moments="all")
    b = VideoSegmenter(model, max_texts=3).segment(video[:12], texts, moments="all")
    assert all((masks(x) == masks(y)).mean() > 0.9999 for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("length", [1, 7, 9, 33])
def test_short_and_odd_lengths(model, video, length):
    found = VideoSegmenter(model).segment(video[:length], TEXTS[:1], moments=[(0, 0)])[0]
    assert found.num_frames == length and masks(found).any(axis=(1, 2)).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"memory.bank": "all"},
        {"memory.mfe": False},
        {"memory.dual_path": False},
        {"memory.bank": "all", "memory.mfe": False},
        {"adapter.temporal": False},
        {"adapter.difference": False},
        {"tam.pooling": "mean"},
    ],
)
def test_ablations_run_and_change_the_masks(video, changes):
    # The first moment lies in the last block, so that all others wait for it.
    spans = [(68, 70), (72, 74)]
    plain = VideoSegmenter(build()).segment(video, TEXTS[:1], moments=spans)[0]
    other = build(**changes)
    other.load_state_dict(build().state_dict(), strict=False)
    found = VideoSegmenter(other).segment(video, TEXTS[:1], moments=spans)[0]
    assert masks(found).any(axis=(1, 2)).all()
    if "tam.pooling" not in changes:  # that one moves relevance alone
        assert (masks(found) != masks(plain)).any()
    else:
        assert np.abs(found.relevance - plain.relevance).max() > 0
    nothing = VideoSegmenter(other, threshold=1.0).segment(video[:9], TEXTS[:1])[0]
    assert nothing.moments == [] and not masks(nothing).any()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"texts": []}, "texts"),
        ({"texts": "a string"}, "texts"),
        ({"texts": [" "]}, "empty"),
        ({"texts": ["word " * 200]}, "tokens"),
        ({"start": 80}, "start|frame"),
        ({"stride": 0}, "stride"),
        ({"moments": "best"}, "moments"),
    ],
)
def test_bad_input(model, video, arguments, message):
    with pytest.raises(InputError, match=message):
        VideoSegmenter(model).segment(video, **{"texts": TEXTS[:1], **arguments})


def test_stream_refuses_what_needs_the_whole_video(model, video):
    with pytest.raises(InputError, match="whole video"):
        next(VideoSegmenter(model).stream(video, TEXTS, moments="top-k:4"))
    with pytest.raises(InputError, match="whole video"):
        next(VideoSegmenter(model, always_target=True).stream(video, TEXTS))


def test_the_video_is_never_held_whole(model, video):
    """No more frames are alive at once than two blocks hold, however long the video is."""
    alive, most = set(), 0

    class Counting(type(open_video(video))):
        def _read(self, start, end, stride):
            nonlocal most
            import weakref

            for frame in super()._read(start, end, stride):
                copy = frame.rgb.copy()
                key = frame.number
                alive.add(key)
                weakref.finalize(copy, alive.discard, key)
                most = max(most, len(alive))
                yield type(frame)(frame.number, frame.time, copy)

    long = np.concatenate([video] * 4)
    source = Counting(long)
    VideoSegmenter(model).segment(source, TEXTS[:1], moments="all")
    assert most <= 3
