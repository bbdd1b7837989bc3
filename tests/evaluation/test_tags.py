"""What is known of expressions: bins, objects, and the generator's description of a scene."""

import numpy as np
import pytest

from tgl_e2e.data.base import ExpressionRecord, VideoRecord
from tgl_e2e.data.mevis import read_mevis
from tgl_e2e.data.synthetic.record import Recording
from tgl_e2e.data.synthetic.write import write_split
from tgl_e2e.errors import InputError
from tgl_e2e.evaluation.tags import read_scenes, tags_of


def tags(objects, moments, size, frames=20, annotation=None):
    expression = ExpressionRecord("0", "text", objects, moments, None, annotation)
    return tags_of(VideoRecord("v", [None] * frames, (expression,)), expression, {}, size)


def test_what_any_data_set_knows():
    assert tags(("a",), {"a": [(0, 1)]}, 3.99) == {
        "target": "one object",
        "relevant_share": "10 to 25 %",
        "target_size": "1 to 4 %",
    }
    assert tags(("a", "b"), {"a": [(0, 0)], "b": [(0, 15)]}, 0.1) == {
        "target": "several objects",
        "relevant_share": "75 to 100 %",
        "target_size": "0 to 1 %",
    }
    assert tags((), {}, None) == {"target": "none"}
    assert tags(None, None, None) == {}
    assert tags(("a",), None, None, annotation=3) == {"target": "one object", "annotation": 3}


def test_bins_hold_their_lower_bound():
    sizes = [0.5, 1, 3, 4, 9.9, 10, 60]
    names = [tags(("a",), None, size)["target_size"] for size in sizes]
    assert names == [
        "0 to 1 %",
        "1 to 4 %",
        "1 to 4 %",
        "4 to 10 %",
        "4 to 10 %",
        "10 to 100 %",
        "10 to 100 %",
    ]
    shares = [tags(("a",), {"a": [(0, n - 1)]}, None, 100)["relevant_share"] for n in (9, 10, 75)]
    assert shares == ["0 to 10 %", "10 to 25 %", "75 to 100 %"]


def test_what_the_generator_knows(tmp_path):
    write_split(tmp_path, "valid_u", 3, seed=1, level="easy", recording=Recording((48, 48)))
    scenes = read_scenes(tmp_path / "valid_u")
    for video in read_mevis(tmp_path, "valid_u").videos:
        for expression in video.expressions:
            found = tags_of(video, expression, scenes, None)
            assert found["level"] == "easy" and found["kind"] and isinstance(found["cues"], list)
            seen = {o for e in video.expressions for o in e.objects} - set(expression.objects)
            assert found["distractors"] >= len(seen)
    assert np.isin(found["kind"], ["attribute", "motion", "several", "no_target"])
    assert read_scenes(tmp_path) == {}
    (tmp_path / "scenes.json").write_text("{}")
    with pytest.raises(InputError, match=r"scenes\.json"):
        read_scenes(tmp_path)
