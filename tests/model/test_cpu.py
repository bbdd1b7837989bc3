"""The products and the attention that inference uses on a CPU, against PyTorch's."""

import time

import pytest
import torch
import torch.nn.functional as F
from networks import difference
from sam2.modeling.backbones.hieradet import MultiScaleBlock

from tgl_e2e.model import cpu


@pytest.fixture(autouse=True)
def _no_gradients():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.mark.parametrize("shape", [(200, 128), (3, 7, 40, 128), (2, 128)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_layers(shape, with_bias):
    x, weight = torch.randn(shape), torch.randn(96, 128)
    bias = torch.randn(96) if with_bias else None
    expected = F.linear(x, weight, bias)
    assert difference(cpu.linear(x, weight, bias), expected) < 1e-4
    turned = torch.randn(*shape[:-1], 256)[..., ::2]  # not contiguous
    assert difference(cpu.linear(turned, weight, bias), F.linear(turned, weight, bias)) < 1e-4


def test_attention_with_values_of_another_width_and_a_bias():
    query, key, value = torch.randn(300, 32), torch.randn(90_000, 32), torch.randn(90_000, 8)
    bias = torch.randn(90_000)
    expected = torch.softmax(query @ key.T / 32**0.5 + bias, dim=-1) @ value
    assert difference(cpu.attend(query, key, value, bias), expected) < 1e-5


def test_bfloat16_attention_is_as_close_as_pytorchs():
    query, key, value = (torch.randn(1, 1, 1024, 64) for _ in range(3))
    exact = F.scaled_dot_product_attention(query, key, value)
    half = [x.bfloat16() for x in (query, key, value)]
    theirs = (F.scaled_dot_product_attention(*half).float() - exact).abs().mean()
    ours = (cpu.attend(*(x[0, 0] for x in half)).float() - exact[0, 0]).abs().mean()
    assert ours < 1.5 * theirs


def test_heads_cut_from_one_tensor_are_not_slow():
    """As the trunk cuts queries, keys and values from one projection; of strided input oneDNN
    makes something a hundred times slower."""
    x = torch.randn(1, 2048, 3, 4, 32)
    heads = [part.transpose(1, 2) for part in x.unbind(2)]

    def seconds() -> float:
        start = time.process_time()
        F.scaled_dot_product_attention(*heads)
        return time.process_time() - start

    plain = min(seconds() for _ in range(3))
    with cpu.FastProducts():
        fast = min(seconds() for _ in range(3))
    assert fast < 5 * plain


def test_modules_run_through_them_and_give_the_same():
    layer = torch.nn.Linear(256, 512)
    x = torch.randn(64, 256)
    heads = [torch.randn(2, 3, 1100, 16) for _ in range(3)]
    plain = layer(x), F.scaled_dot_product_attention(*heads)
    with cpu.FastProducts():
        fast = layer(x), F.scaled_dot_product_attention(*heads)
        half = F.linear(x.bfloat16(), layer.weight.bfloat16())
        with torch.enable_grad():
            layer(x).sum().backward()
    assert all(difference(a, b) < 1e-4 for a, b in zip(plain, fast, strict=True))
    assert half.dtype == torch.bfloat16
    assert layer.weight.grad is not None  # with gradients linear layers are PyTorch's


@pytest.mark.parametrize("masked", ["nothing", "bool", "bias"])
def test_attention_in_windows_gives_pytorchs_values_and_gradients(masked):
    mask = {
        "nothing": None,
        "bool": torch.rand(6, 1, 1, 24) > 0.3,
        "bias": torch.randn(1, 1, 1, 24),
    }[masked]
    results = []
    with torch.enable_grad():
        for attend in (F.scaled_dot_product_attention, cpu.attend_windows):
            torch.manual_seed(1)
            heads = [torch.randn(6, 2, n, 16, requires_grad=True) for n in (10, 24, 24)]
            out = attend(*heads, attn_mask=mask, scale=0.3)
            out.square().sum().backward()
            results.append([out, *(h.grad for h in heads)])
    assert all(difference(a, b) < 1e-4 for a, b in zip(*results, strict=True))


def test_with_gradients_small_windows_alone_take_plain_products():
    small = [torch.randn(4, 1, 64, 16, requires_grad=True) for _ in range(3)]
    large = [torch.randn(1, 1, 300, 16, requires_grad=True) for _ in range(3)]

    def steps(heads, **kwargs) -> str:
        with torch.enable_grad(), cpu.FastProducts():
            return F.scaled_dot_product_attention(*heads, **kwargs).grad_fn.name()

    assert "Attention" not in steps(small, dropout_p=0.0)
    assert "Attention" in steps(large) and "Attention" in steps(small, is_causal=True)


def test_under_autocast_windows_are_computed_in_its_precision():
    heads = [torch.randn(4, 1, 64, 16, requires_grad=True) for _ in range(3)]
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        out = cpu.attend_windows(*heads)
        exact = F.scaled_dot_product_attention(*heads)
        out.float().sum().backward()
    assert out.dtype == exact.dtype == torch.bfloat16
    assert difference(out, exact) < 0.03
    assert heads[0].grad.dtype == torch.float32


# --- in pieces ------------------------------------------------------------------------------------


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(cpu, "VALUES_AT_ONCE", 2**12)


@pytest.mark.parametrize(
    "window, stride, side",
    [(8, None, 32), (8, (2, 2), 32), (14, (2, 2), 32), (7, None, 16), (0, None, 16)],
)
def test_blocks_of_the_trunk_give_the_same_in_pieces(small_pieces, window, stride, side):
    dim_out = 48 if stride else 24
    block = MultiScaleBlock(24, dim_out, 2, q_stride=stride, window_size=window).eval()
    calls = []
    block.register_forward_hook(lambda module, given, out: calls.append(given[0].shape))
    x = torch.randn(3, side, side, 24)
    whole = block(x)
    calls.clear()
    assert difference(cpu.run_block(block, x), whole) < 1e-5
    assert len(calls) == (3 if window == 0 or side <= window else 3 * -(-side // window))


def test_several_small_frames_go_together(monkeypatch):
    block = MultiScaleBlock(24, 24, 2, window_size=4).eval()
    monkeypatch.setattr(cpu, "VALUES_AT_ONCE", 2 * 8 * 8 * 96)
    calls = []
    block.register_forward_hook(lambda module, given, out: calls.append(len(given[0])))
    x = torch.randn(5, 8, 8, 24)
    assert difference(cpu.run_block(block, x), block(x)) < 1e-5
    assert calls[:3] == [2, 2, 1]


def test_pieces_are_for_inference_alone(small_pieces):
    x = torch.randn(4, 8, 8, 24)
    assert cpu.rows_at_once(x, 8, 2**10) == 4
    assert cpu.rows_at_once(x, 8, 2**10, multiple=3) == 3
    assert cpu.rows_at_once(x, 8, 2**20, multiple=4) == 4  # never less than one
    with torch.enable_grad():
        assert cpu.rows_at_once(x, 8, 2**10) == 8


@pytest.mark.parametrize("full_rate", [True, False])
def test_which_attention_a_processor_gets(monkeypatch, full_rate):
    """Ours where PyTorch's is slow: on other makers' processors, and for values of another width;
    either gives the same."""
    monkeypatch.setattr(cpu, "mkl_at_full_rate", lambda: full_rate)
    taken = []
    ours = cpu._attend_heads
    monkeypatch.setattr(cpu, "_attend_heads", lambda *x: taken.append(1) or ours(*x))
    query, key, value = (torch.randn(1, 2, 1100, 16) for _ in range(3))
    expected = F.scaled_dot_product_attention(query, key, value)
    narrow = F.scaled_dot_product_attention(query, key, value[..., :8])
    with cpu.FastProducts():
        assert difference(F.scaled_dot_product_attention(query, key, value), expected) < 1e-5
        assert len(taken) == (0 if full_rate else 1)
        found = F.scaled_dot_product_attention(query, key, value[..., :8])
    assert difference(found, narrow) < 1e-5
    assert len(taken) == (1 if full_rate else 2)
