"""What the names of precisions mean on a GPU and without one."""

import pytest
import torch

from ddro.core.command import UserError
from ddro.models.precision import use_precision


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


def test_on_a_gpu_products_are_rounded_for_tf32_alone(gpu):
    assert [use_precision(name) for name in ("tf32", "float32")] == [torch.float32] * 2
    assert gpu == ["high", "highest"]


def test_a_gpu_without_bfloat16_is_a_sentence(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match="Old card has no bfloat16. Write float32"):
        use_precision("bfloat16")
    assert use_precision("float32") == torch.float32
