import json

import numpy as np
import pytest

from tgl_e2e.errors import InputError
from tgl_e2e.moments import (
    MomentsSpec,
    check_inside,
    inside,
    moments_in_order,
    parse_moments,
    spans,
)


def written(tmp_path, content, name="moments.json"):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_modes_without_intervals():
    assert parse_moments("auto") == MomentsSpec("auto")
    assert parse_moments("all") == MomentsSpec("all")
    assert parse_moments("top-k:4") == MomentsSpec("top-k", k=4)
    spec = MomentsSpec("top-k", k=2)
    assert parse_moments(spec) is spec


def test_file_for_all_texts(tmp_path):
    path = written(tmp_path, [[0, 4], [7.0, 7]])
    spec = parse_moments(path)
    assert (spec.kind, spec.k) == ("intervals", None)
    assert spec.intervals_for(["anything"]) == [((0, 4), (7, 7))]
    spec = parse_moments(f"{path}+top-k:12")
    assert (spec.kind, spec.k) == ("intervals+top-k", 12)
    assert spec.intervals_for(["anything"]) == [((0, 4), (7, 7))]


def test_file_per_text(tmp_path):
    spec = parse_moments(str(written(tmp_path, {"the dog": [[1, 2]], "the cat": []})))
    assert spec.intervals_for(["the dog"]) == [((1, 2),)]
    assert spec.intervals_for(["the cat"]) == [()]
    with pytest.raises(InputError, match='"the bird"'):
        spec.intervals_for(["the bird"])


def test_result_json(tmp_path):
    expressions = [
        {"text": "a", "moments": [[1, 2]], "masks": []},
        {"text": "b", "moments": []},
        {"text": "a", "moments": [[1, 2]]},
    ]
    spec = parse_moments(written(tmp_path, {"version": 1, "expressions": expressions}))
    assert spec.intervals_for(["a"]) == [((1, 2),)]
    assert spec.intervals_for(["b"]) == [()]
    expressions[2]["moments"] = [[1, 3]]
    with pytest.raises(InputError, match="twice"):
        parse_moments(written(tmp_path, {"version": 1, "expressions": expressions}))


def test_objects():
    assert parse_moments([(0, 4)]).intervals_for(["x"]) == [((0, 4),)]
    assert parse_moments(np.array([[0, 4], [6, 9]])).intervals_for(["x"]) == [((0, 4), (6, 9))]
    spec = parse_moments({"x": [(0, 4)]}, k=3)
    assert (spec.kind, spec.k, spec.intervals_for(["x"])) == ("intervals+top-k", 3, [((0, 4),)])


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "Auto",
        "top-k",
        "top-k:",
        "top-k:0",
        "top-k:-1",
        "top-k:x",
        "top-k:1.5",
        "nothing.json",
        "nothing.json+top-k:4",
    ],
)
def test_bad_words(spec):
    with pytest.raises(InputError):
        parse_moments(spec)


@pytest.mark.parametrize(
    "content",
    [
        "no json",
        "[[0, 1]",
        "[" * 100_000,
        "3",
        "null",
        '"text"',
        "[0, 1]",
        "[[0, 1, 2]]",
        "[[0]]",
        '[["0", "1"]]',
        "[[true, 5]]",
        "[[0.5, 2]]",
        "[[NaN, 2]]",
        "[[0, Infinity]]",
        "[[5, 3]]",
        "[[-1, 3]]",
        '{"a": 3}',
        '{"a": [[5, 3]]}',
        '{"expressions": [{"text": "a"}]}',
        '{"expressions": [3]}',
    ],
)
def test_bad_files(tmp_path, content):
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=r"moments\.json") as caught:
        parse_moments(path)
    assert "\n" not in str(caught.value)


def test_not_text_and_not_a_file(tmp_path):
    (tmp_path / "binary.json").write_bytes(bytes(range(128, 256)))
    for path in (tmp_path / "binary.json", tmp_path):
        with pytest.raises(InputError):
            parse_moments(path)
    for spec in (None, 3, [[0, None]]):
        with pytest.raises(InputError):
            parse_moments(spec)


def test_check_inside():
    spec = parse_moments({"a": [[0, 9]], "b": [[5, 10]]})
    check_inside(spec, 11, ["a", "b"])
    check_inside(spec, 10, ["a"])
    with pytest.raises(InputError, match=r"\[5, 10\].* last frame is 9"):
        check_inside(spec, 10, ["b"])
    with pytest.raises(InputError, match="outside"):
        check_inside(spec, 10, ["a", "b"])
    with pytest.raises(InputError, match="outside"):
        check_inside(parse_moments([[12, 13]]), 12, ["a"])
    check_inside(parse_moments("top-k:4"), 1, ["a"])


def test_spans():
    frames = np.array([10, 12, 14, 16, 18])
    assert spans(frames, np.array([1, 1, 0, 0, 1], bool)) == [(10, 12), (18, 18)]
    assert spans(frames, np.ones(5, bool)) == [(10, 18)]
    assert spans(frames, np.zeros(5, bool)) == []
    assert spans(frames[:0], np.zeros(0, bool)) == []
    found = spans(frames, np.array([0, 1, 0, 1, 0], bool))
    assert found == [(12, 12), (16, 16)]
    assert all(type(n) is int for span in found for n in span)


def test_inside_undoes_spans():
    rng = np.random.default_rng(0)
    for stride in (1, 3):
        frames = 5 + stride * np.arange(40)
        relevant = rng.random(40) < 0.5
        assert (inside(frames, spans(frames, relevant)) == relevant).all()
    assert inside(np.array([3, 4, 5]), [(4, 4), (4, 9)]).tolist() == [False, True, True]
    assert not inside(np.array([3]), []).any()


def test_intervals_by_place():
    spec = moments_in_order([[(0, 1)], [], [(3, 4), (6, 6)]], k=2)
    assert (spec.kind, spec.k) == ("intervals+top-k", 2)
    texts = ["same words", "same words", "b"]
    assert spec.intervals_for(texts) == [((0, 1),), (), ((3, 4), (6, 6))]
    with pytest.raises(InputError, match="3 texts"):
        spec.intervals_for(texts[:2])
    with pytest.raises(InputError, match="outside"):
        check_inside(spec, 6, texts)
    assert parse_moments([[0, 1]]).intervals_for(texts) == [((0, 1),)] * 3
