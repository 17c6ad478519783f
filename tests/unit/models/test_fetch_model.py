"""Fetching a base model: from a folder that stands for the hub's."""

import os
import subprocess
import sys

import pytest
import torch

from ddro.core.command import UserError
from ddro.models.t5 import initialise_t5, load, save
from ddro.models.tokenizer import train_tokenizer
from fetch_model import main, parser


def fetch(source, output):
    main(parser().parse_args(["--source", str(source), "--output", str(output)]))


def test_a_model_comes_from_a_folder_with_its_weights_and_tokens(tmp_path):
    tokenizer = train_tokenizer(["creates a stack"], 40)
    model = initialise_t5(40, d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=0)
    save(model, tokenizer, tmp_path / "source")
    fetch(tmp_path / "source", tmp_path / "model")
    fetched, tokens = load(tmp_path / "model")
    wanted = model.state_dict()
    assert all(torch.equal(weight, wanted[name]) for name, weight in fetched.state_dict().items())
    assert tokens("a stack")["input_ids"] == tokenizer("a stack")["input_ids"]


def test_a_folder_without_a_model_says_what_to_do(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no model could be fetched .*model.source in the recipe"):
        fetch(tmp_path / "empty", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_that_are_a_pickle_are_refused(tmp_path):
    model = initialise_t5(40, d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=0)
    save(model, train_tokenizer(["creates a stack"], 40), tmp_path / "source")
    (tmp_path / "source/model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "source/pytorch_model.bin")
    with pytest.raises(UserError, match="no model could be fetched"):
        fetch(tmp_path / "source", tmp_path / "model")


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", ":::"])
@pytest.mark.parametrize(
    "command",
    [
        ["fetch_model.py", "--source=nobody/nothing"],
        ["fetch_embedding_model.py", "--model=nobody/nothing"],
        ["fetch_published.py", "--model=nobody/nothing", "--docids=nobody/nothing:x", "--tests=nobody/nothing:x"],
    ],
)
def test_a_proxy_that_is_none_is_told_in_a_sentence(root, tmp_path, command, proxy):
    environment = os.environ | {"https_proxy": proxy, "http_proxy": proxy, "HF_HOME": str(tmp_path / "hub")}
    environment.pop("HF_HUB_OFFLINE", None)
    script, *options = command
    done = subprocess.run(
        [sys.executable, root / "scripts" / script, *options, "--output", tmp_path / "output"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "ERROR nobody/nothing: " in last and "Fetch it where there is network, or name a folder" in last
    assert not (tmp_path / "output").exists()
