"""Real objects that move: sprites of a small drawn set, exact masks and moments, splits, camera."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from tgl_e2e.data.base import Span
from tgl_e2e.data.clips import ClipOptions
from tgl_e2e.data.motion import SceneClips
from tgl_e2e.data.nouns import names_of
from tgl_e2e.data.synthetic import render, sprite_scenes
from tgl_e2e.data.synthetic.__main__ import main
from tgl_e2e.data.synthetic.describe import Description, resolve
from tgl_e2e.data.synthetic.sprite_scenes import Filming, SpriteScene, make_sprite_scene
from tgl_e2e.data.synthetic.sprites import Sprites, cut, read_sprites
from tgl_e2e.errors import InputError

SIZE = 96
# Vivid things before grey backgrounds: what is vivid in a frame must be what the masks say.
CLASSES = {1: ("cat", (220, 40, 30)), 2: ("dog", (30, 60, 220)), 3: ("car", (40, 170, 60))}
CUTOUTS = {"a.webp": "parrot", "b.webp": "red ball", "c.webp": "two flowers", "d.webp": "ship"}


def grey(rng, size) -> Image.Image:
    coarse = rng.integers(90, 170, (6, 8)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.BICUBIC).convert("RGB")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A COCO set of 24 images, cut-outs and photographs; the arguments of the command for them."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    images, annotations = [], []
    (root / "coco" / "images").mkdir(parents=True)
    for i in range(24):
        picture = grey(rng, (240, 160))
        draw = ImageDraw.Draw(picture)
        for k, left in enumerate((15, 130)):
            category = 1 + (i + k) % 3
            turn = np.sort(rng.uniform(0, 2 * np.pi, 9))
            points = np.stack([45 * np.cos(turn) + left + 45, 60 * np.sin(turn) + 80], 1)
            draw.polygon(points.ravel().tolist(), fill=CLASSES[category][1])
            area = float(coco.area(coco.frPyObjects([points.ravel().tolist()], 160, 240))[0])
            annotations.append(
                {"id": 2 * i + k, "image_id": i, "category_id": category, "area": area}
                | {"segmentation": [points.ravel().tolist()], "iscrowd": 0}
            )
        picture.save(root / "coco" / "images" / f"{i}.jpg", quality=95)
        images.append({"id": i, "file_name": f"{i}.jpg", "width": 240, "height": 160})
    names = [{"id": key, "name": name} for key, (name, _) in CLASSES.items()]
    content = {"images": images, "annotations": annotations, "categories": names}
    (root / "coco" / "instances.json").write_text(json.dumps(content))
    (root / "cutouts").mkdir()
    for name in CUTOUTS:
        rgba = np.zeros((60, 80, 4), np.uint8)
        rgba[5:-5, 5:-5] = (230, 120, 20, 255)
        Image.fromarray(rgba).save(root / "cutouts" / name, lossless=True)
    (root / "cutouts" / "names.json").write_text(json.dumps(CUTOUTS))
    (root / "backgrounds").mkdir()
    for i in range(16):
        grey(rng, (200, 150)).save(root / "backgrounds" / f"{i}.jpg")
    return {name: root / name for name in ("coco", "cutouts", "backgrounds")}


@pytest.fixture(scope="module")
def sprites(folders) -> Sprites:
    return read_sprites(list(folders.values()), "train")


@pytest.fixture(scope="module")
def scenes(sprites) -> list[SpriteScene]:
    return [make_sprite_scene(sprites, seed, num_frames=32) for seed in range(30)]


def plainly(scene: SpriteScene) -> SpriteScene:
    """The scene without blur, noise and compression."""
    film, ones = scene.nuisance, np.ones(scene.num_frames)
    return replace(scene, nuisance=Filming(film.views, ones, np.ones(3), 0.0, 0.0, None))


def centre(mask: np.ndarray) -> np.ndarray:
    """(2,) x, y of a mask's centre, in frame sides."""
    ys, xs = np.nonzero(mask)
    return np.array([xs.mean() + 0.5, ys.mean() + 0.5]) / SIZE


def moves(scene: SpriteScene) -> bool:
    return bool(np.ptp(scene.nuisance.views, axis=0).max() > 0.1)


def on_grey(scene: SpriteScene) -> bool:
    """Whether the background is one that shows no vivid thing."""
    return scene.background.path.parent.name == "backgrounds"


def test_masks_are_what_is_seen_also_under_a_moving_camera(scenes):
    seen = [scene for scene in scenes if on_grey(scene)]
    assert sum(map(moves, seen)) >= 3
    for scene in seen:
        drawn = render(plainly(scene), range(0, 32, 5), SIZE)
        vivid = np.ptp(drawn.rgb.astype(int), axis=-1) > 60
        masks = drawn.ids > 0
        assert (vivid & masks).sum() / (vivid | masks).sum() > 0.93
        for index, sprite in enumerate(scene.cast):  # and of whom
            strongest = {"cat": 0, "dog": 2, "car": 1}.get(sprite.noun)
            shown = drawn.rgb[(drawn.ids == index + 1) & vivid]
            if strongest is not None and len(shown):
                assert (shown.argmax(-1) == strongest).mean() > 0.97


def test_objects_move_with_the_background_and_by_their_own_motion_alone(scenes):
    """What the masks show, brought back into the scene's frame, is the path that moments tell."""
    checked = 0
    for scene in scenes:
        drawn = render(scene, range(scene.num_frames), SIZE)
        views = scene.nuisance.views
        for index, thing in enumerate(scene.objects):
            for segment in thing.segments:
                if not segment.motion.startswith("moving "):
                    continue
                ends = []
                for t in (segment.start, segment.end):
                    mask = drawn.ids[t] == index + 1
                    border = mask[0].any() | mask[-1].any() | mask[:, 0].any() | mask[:, -1].any()
                    if border or not mask.any():
                        break  # cut off: its centre is not to be seen
                    ends.append((centre(mask) - 0.5) / views[t, 2] + views[t, :2])
                if len(ends) < 2 or _hidden(drawn.ids, segment.start, segment.end, index):
                    continue
                way = dict(zip("xy", ends[1] - ends[0], strict=True))
                axis = "x" if segment.direction in ("left", "right") else "y"
                sign = 1 if segment.direction in ("right", "down") else -1
                assert sign * way[axis] > 0.12, (scene.seed, segment, way)
                assert abs(way["y" if axis == "x" else "x"]) < 0.06
                checked += 1
    assert checked > 20


def _hidden(ids: np.ndarray, start: int, end: int, index: int) -> bool:
    """Whether another object lies before this one at either end: its area changes."""
    areas = [(ids[t] == index + 1).sum() for t in (start, end)]
    return min(areas) < 0.9 * max(areas)


def test_moments_are_the_segments_of_the_objects(scenes):
    told = [(scene, e) for scene in scenes for e in scene.expressions]
    assert {e.kind for _, e in told} >= {"attribute", "motion", "several", "appearance"}
    for scene, expression in told:
        assert set(expression.moments) == set(expression.objects)
        for index, spans in expression.moments.items():
            segments = {(s.start, s.end) for s in scene.objects[index].segments}
            whole: list[Span] = [(0, scene.num_frames - 1)]
            assert spans == whole or set(spans) <= segments
            assert expression.kind != "appearance" or spans == whole


def test_names_are_drawn_in_the_order_of_the_cast(sprites, monkeypatch):
    """Not in that of a set, which differs from process to process, and the scene with it."""
    drawn, called = [], sprite_scenes._called
    spied = lambda noun, rng: (drawn.append(noun), called(noun, rng))[1]  # noqa: E731
    monkeypatch.setattr(sprite_scenes, "_called", spied)
    several = 0
    for seed in range(6):
        scene = make_sprite_scene(sprites, seed, num_frames=32)
        nouns = list(dict.fromkeys(sprite.noun for sprite in scene.cast))
        assert drawn[-len(nouns) :] == nouns
        several += len(nouns) > 1
    assert several > 3


def test_look_alikes_differ_in_what_they_do(scenes):
    """In most scenes objects of one noun are there, in many the very same sprite; and then an
    expression about one of them is not decided by its looks."""
    alike = [s for s in scenes if len({c.noun for c in s.cast}) < len(s.cast)]
    twins = [s for s in scenes if len({c.key for c in s.cast}) < len(s.cast)]
    assert len(alike) > 0.6 * len(scenes) and len(twins) > 0.2 * len(scenes)
    told = [e for s in alike for e in s.expressions if e.kind in ("attribute", "compound")]
    assert np.mean([not e.appearance_decides for e in told]) > 0.4


def test_no_target(scenes):
    absent = [(s, e) for s in scenes for e in s.expressions if e.kind == "no_target"]
    assert len(absent) > 5
    for scene, expression in absent:
        assert expression.objects == () and expression.moments == {}
        assert not scene.relevant(expression).any()
    # One that only names a thing names none that is there, nor one that the background shows.
    for scene, expression in absent:
        article, _, noun = expression.text.partition(" ")
        if article == "the" and noun in ("cat", "dog", "car", "ship", "ball", "parrot"):
            there = {sprite.noun for sprite in scene.cast} | set(scene.background.shown)
            assert not any(noun in names_of(one) for one in there)


def test_splits_share_neither_objects_nor_backgrounds(folders, tmp_path):
    def files(split, roots=None):
        found = read_sprites(roots or list(folders.values()), split)
        sources = {
            str(s.file if s.instance is None else s.file.path)
            for n in found.by_noun.values()
            for s in n
        }
        return sources | {str(b.path) for b in found.backgrounds}

    train, valid = files("train"), files("valid_u")
    assert train and valid and not train & valid
    # A set with annotations of its own for validation keeps to these.
    root = tmp_path / "coco"
    root.mkdir()
    content = json.loads((folders["coco"] / "instances.json").read_text())
    for split, numbers in (("train", range(12)), ("val", range(12, 24))):
        part = {
            "images": [i for i in content["images"] if i["id"] in numbers],
            "annotations": [a for a in content["annotations"] if a["image_id"] in numbers],
            "categories": content["categories"],
        }
        (root / f"instances_{split}.json").write_text(json.dumps(part))
    (root / "images").symlink_to(folders["coco"] / "images")
    assert {p.rsplit("/")[-1] for p in files("valid_u", [root])} <= {
        f"{i}.jpg" for i in range(12, 24)
    }


def test_sprites_are_whole_named_and_without_their_old_background(sprites):
    known = {"cat", "dog", "car", "parrot", "ball", "ship"}  # no "two flowers"
    assert set(sprites.by_noun) <= known
    colours = {"cat": "red", "dog": "blue", "car": "green"}
    for noun, colour in colours.items():
        sprite = cut(sprites.by_noun[noun][0])
        assert sprite.colour == colour
        alpha = sprite.rgba[..., 3]
        assert ((alpha > 20) & (alpha < 235)).any()  # soft edges
        vivid = np.ptp(sprite.rgba[..., :3].astype(int), axis=-1) > 60
        assert vivid[alpha > 10].mean() > 0.98  # no halo of grey


def test_cut_by_the_border_or_hidden_is_no_sprite(folders, tmp_path):
    content = json.loads((folders["coco"] / "instances.json").read_text())
    one = content["annotations"][0]
    xs = np.array(one["segmentation"][0])
    xs[::2] -= xs[::2].min()  # up to the left border
    content["annotations"] = [{**a, "segmentation": [xs.tolist()]} for a in content["annotations"]]
    (tmp_path / "instances.json").write_text(json.dumps(content))
    (tmp_path / "images").symlink_to(folders["coco"] / "images")
    with pytest.raises(InputError, match="0 nouns"):
        read_sprites([tmp_path], "train")


def test_a_scene_is_a_function_of_its_seed(sprites, folders):
    again = read_sprites(list(folders.values()), "train")
    for seed in range(3):
        a, b = make_sprite_scene(sprites, seed), make_sprite_scene(again, seed)
        assert a.expressions == b.expressions and a.num_frames == b.num_frames
        first, second = (render(s, [3, 7], (64, 96)) for s in (a, b))
        assert np.array_equal(first.rgb, second.rgb) and np.array_equal(first.ids, second.ids)
        alone = render(a, [7], (64, 96))
        assert np.array_equal(alone.rgb[0], first.rgb[1])
        assert not np.array_equal(
            render(make_sprite_scene(sprites, seed + 9), [7], (64, 96)).rgb, alone.rgb
        )


def test_wider_words_and_what_is_unclear(scenes):
    scene = next(s for s in scenes if {"cat", "dog"} <= {o.shape for o in s.objects})
    cats = {i for i, o in enumerate(scene.objects) if o.shape == "cat"}
    animals = {i for i, o in enumerate(scene.objects) if o.shape in ("cat", "dog", "parrot")}
    assert set(resolve(scene.objects, Description(shape="cat"))) == cats
    assert set(resolve(scene.objects, Description(shape="animal"))) == animals
    assert resolve(scene.objects, Description(shape="elephant")) == {}
    some = [replace(o, shape="bird", names=names_of("bird")) for o in scene.objects]
    assert resolve(some, Description(shape="parrot")) is None  # the bird may be one
    pale = [replace(o, colour=None) for o in scene.objects]
    assert resolve(pale, Description(shape="cat", colour="red")) is None
    assert {"animal"} <= names_of("brown dog") and "animal" not in names_of("hot dog")


@pytest.mark.parametrize("count", [1, 4])
def test_clips_are_functions_of_their_index(sprites, count):
    options = ClipOptions(
        num_frames=count, block=16, size=64, aspect_share=0.5, no_target_share=0.4
    )
    clips, again = (SceneClips(sprites, options, 20, seed=5) for _ in range(2))
    targets = 0
    for index in (0, 7, 3, 4, 5):
        a, b = clips[index], again[index]
        assert a.text == b.text and torch.equal(a.frames, b.frames)
        assert torch.equal(a.target, b.target) and a.frames.shape == (count, 3, 64, 64)
        targets += bool(a.target.any())
        if not a.relevant.any():
            assert not a.target.any()
    assert targets


def test_a_picture_that_cannot_be_read_is_named_instead_of_drawn_around(folders, tmp_path):
    """Another seed mends a scene that does not come about, not a damaged download."""
    shutil.copytree(folders["coco"], tmp_path / "coco")
    for path in (tmp_path / "coco").rglob("*.jpg"):
        path.write_bytes(path.read_bytes()[:300])
    damaged = read_sprites([tmp_path / "coco", *list(folders.values())[1:]], "train")
    clips = SceneClips(damaged, ClipOptions(num_frames=8, block=16, size=64), 20, seed=5)
    with pytest.raises(InputError, match=r"images.*\.jpg: no readable image"):
        [clips[index] for index in range(20)]


def test_command_writes_the_layout_of_mevis(folders, tmp_path):
    sources = [f"--{name}={folder}" for name, folder in folders.items()]
    arguments = ["--kind=scenes", *sources, "--split=valid_u", "--videos=2", "--frames=28"]
    assert main([*arguments, f"--output={tmp_path}", "--size=64x96,64", "--seed=4"]) == 0
    folder = tmp_path / "valid_u"
    meta, masks, moments, told = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("meta_expressions", "mask_dict", "moments", "scenes")
    )
    held_out = read_sprites(list(folders.values()), "valid_u")
    sizes = set()
    for n, (video, entry) in enumerate(meta["videos"].items()):
        scene = make_sprite_scene(held_out, 400_000 + n, "valid_u", 28)
        size = (64, 96) if n == 0 else (64, 64)
        drawn = render(scene, range(28), size)
        assert told["videos"][video]["background"] == scene.background.path.name
        for k, expression in enumerate(scene.expressions):
            stored = entry["expressions"][str(k)]
            spans = moments["videos"][video]["expressions"][str(k)]["objects"]
            assert stored["exp"] == expression.text
            assert {int(i): [tuple(s) for s in v] for i, v in spans.items()} == expression.moments
            for index, anno in zip(stored["obj_id"], stored["anno_id"], strict=True):
                for t, rle in enumerate(masks[str(anno)]):
                    mask = np.zeros(size, bool) if rle is None else coco.decode(rle) > 0
                    assert np.array_equal(mask, drawn.ids[t] == index + 1)
        frame = np.asarray(Image.open(folder / "JPEGImages" / video / "00000.jpg"))
        assert np.abs(frame.astype(int) - drawn.rgb[0]).mean() < 12
        sizes.add(frame.shape[:2])
    assert sizes == {(64, 96), (64, 64)}


def test_bad_input_is_one_line(folders, tmp_path, capsys):
    base = ["--kind=scenes", "--split=train", f"--output={tmp_path / 'out'}"]
    with pytest.raises(SystemExit) as stopped:
        main(base)
    assert stopped.value.code == 2 and "--coco" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([*base, f"--coco={tmp_path / 'empty'}"]) == 2
    error = capsys.readouterr().err
    assert "empty" in error and error.count("\n") == 1
    assert main([*base, f"--cutouts={folders['cutouts']}"]) == 2
    assert "0 backgrounds" in capsys.readouterr().err and not (tmp_path / "out").exists()
