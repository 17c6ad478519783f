"""What the names of precisions mean on a GPU and without one."""

import pytest
import torch

from ddro.core.command import UserError
from ddro.models.precision import trains_in_bfloat16, use_precision


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that computes in bfloat16, as far as `use_precision` asks; the list of what it sets."""
    said = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Old card")
    monkeypatch.setattr(torch, "set_float32_matmul_precision", said.append)
    return said


def test_on_a_processor_tf32_is_float32():
    before = torch.get_float32_matmul_precision()
    names = ("float32", "tf32", "bfloat16")
    assert [use_precision(name) for name in names] == [torch.float32, torch.float32, torch.bfloat16]
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [({}, False), ({"avx512_bf16": False}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)],
)
def test_a_processor_trains_in_bfloat16_where_it_has_instructions_for_it(monkeypatch, instructions, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)
    assert trains_in_bfloat16("bfloat16") is expected
    assert not trains_in_bfloat16("tf32")
    assert not trains_in_bfloat16("float32")


def test_a_gpu_trains_in_bfloat16_whatever_the_processor(gpu, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert trains_in_bfloat16("bfloat16")
    assert not trains_in_bfloat16("float32")


def test_on_a_gpu_products_are_rounded_for_tf32_alone(gpu):
    assert [use_precision(name) for name in ("tf32", "float32")] == [torch.float32] * 2
    assert gpu == ["high", "highest"]


def test_a_gpu_without_bfloat16_is_a_sentence(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match="Old card has no bfloat16. Write float32"):
        use_precision("bfloat16")
    assert use_precision("float32") == torch.float32
