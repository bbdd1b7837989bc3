"""The text prompt of Eq. 2."""

import torch
from networks import difference

from tgl_e2e.model.prompt import TextPrompt


@torch.no_grad()
def test_prompt_is_made_of_cls_and_the_mean_of_the_verbs():
    torch.manual_seed(0)
    prompt = TextPrompt(6, 4).eval()
    text = torch.randn(2, 5, 6)
    verbs = torch.tensor([[False, False, True, True, False], [False, True, False, False, False]])
    found = prompt(text, verbs)
    assert found.shape == (2, 1, 4)
    averaged = text.clone()  # the same, said by one token
    averaged[0, 2] = (text[0, 2] + text[0, 3]) / 2
    one = verbs.clone()
    one[0, 3] = False
    assert difference(prompt(averaged, one), found) < 1e-6
    assert difference(prompt(text[1:], verbs[1:]), found[1:]) < 1e-6


@torch.no_grad()
def test_other_words_do_not_enter():
    torch.manual_seed(0)
    prompt = TextPrompt(6, 4).eval()
    text = torch.randn(1, 5, 6)
    verbs = torch.tensor([[False, False, True, False, False]])
    changed = text.clone()
    changed[:, [1, 3, 4]] += 5
    assert torch.equal(prompt(changed, verbs), prompt(text, verbs))
    for column in (0, 2):
        changed = text.clone()
        changed[:, column] += 1
        assert difference(prompt(changed, verbs), prompt(text, verbs)) > 1e-3
