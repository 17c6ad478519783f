import json
from types import SimpleNamespace

import pynvml
import pytest
import torch

from ddro.training.cost import GpuCost, total_spent
from ddro.training.trainer import write_training_log

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def all_is_logged(caplog):
    caplog.set_level("INFO")


@pytest.fixture
def clock():
    return SimpleNamespace(seconds=100.0, millijoules=5_000_000)


@pytest.fixture
def driver(monkeypatch, clock):
    """NVIDIA's driver, which counts the energy of one GPU."""

    def handle_of(uuid):
        assert uuid == "GPU-8a56a4bc"
        return "handle"

    def energy(handle):
        assert handle == "handle"
        return clock.millijoules

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="8a56a4bc"))
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", handle_of)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", energy)


def test_seconds_and_energy_since_the_last_time_of_all_processes(driver, clock):
    cost = GpuCost(CUDA, processes=4, clock=lambda: clock.seconds)
    clock.seconds, clock.millijoules = 110.0, 5_000_000 + 3_600_000  # ten seconds, one watt hour
    assert cost.spent() == {"gpu_seconds": 40.0, "gpu_wh": 4.0}
    clock.seconds += 1
    assert cost.spent() == {"gpu_seconds": 4.0, "gpu_wh": 0.0}


def test_a_device_that_does_not_report_its_energy(driver, clock, monkeypatch, caplog):
    def refuse(handle):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    cost = GpuCost(CUDA, clock=lambda: clock.seconds)
    clock.seconds += 2
    assert cost.spent() == {"gpu_seconds": 2.0}
    assert "energy isn't known: Not Supported" in caplog.text


def test_a_machine_without_a_driver(clock, caplog):
    if torch.cuda.is_available():
        pytest.skip("this machine has NVIDIA's driver")
    cost = GpuCost(CUDA, clock=lambda: clock.seconds)
    assert cost.spent() == {"gpu_seconds": 0.0}
    assert "energy isn't known" in caplog.text


def test_a_cpu_costs_no_gpu():
    assert GpuCost(torch.device("cpu")).spent() == {}


def test_the_log_keeps_all_that_was_spent(tmp_path):
    history = [
        {"loss": 2.0, "gpu_seconds": 1.0, "gpu_wh": 0.5, "step": 10},
        {"eval_loss": 1.0, "gpu_seconds": 0.25, "gpu_wh": 0.125, "step": 10},
        {"eval_mrr@10": 0.5, "gpu_seconds": 0.5, "gpu_wh": 0.25, "step": 10},
        {"train_runtime": 9.0, "train_loss": 2.0, "gpu_seconds": 0.0625, "gpu_wh": 0.5, "step": 10},
    ]
    write_training_log(SimpleNamespace(state=SimpleNamespace(log_history=history)), "ddro", tmp_path)
    first, second = (json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines())
    assert first == {"stage": "ddro"} | history[0]
    evaluation = {"step": 10, "eval_loss": 1.0, "eval_mrr@10": 0.5, "gpu_seconds": 0.8125, "gpu_wh": 0.875}
    assert second == {"stage": "ddro"} | evaluation
    assert total_spent(history) == {"gpu_seconds": 1.8125, "gpu_wh": 1.375}
    assert total_spent([{"loss": 2.0, "step": 10}]) == {}
