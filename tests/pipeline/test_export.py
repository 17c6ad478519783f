"""What ``snakemake export`` writes is used as others would: with plain transformers, and through ``docids.table``."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ddro.core import tables
from ddro.core.files import read_table
from project import EXPERIMENT, snakemake

PLAIN = """
import sys
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
model, report = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], output_loading_info=True)
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
assert not any(report.values()), report
assert model.config.vocab_size == len(tokenizer)
query, start = (tokenizer(text, return_tensors="pt") for text in ("list tags", "a"))
assert model(**query, decoder_input_ids=start["input_ids"]).logits.isfinite().all()
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def exported(own_slice) -> Path:
    """The folder of the exported model, in a copy of the finished slice."""
    snakemake(own_slice, "export")
    return own_slice / EXPERIMENT / "export/ddro"


def test_plain_transformers_loads_it(exported, tmp_path):
    done = subprocess.run([sys.executable, "-c", PLAIN, exported], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_docids_go_back_in_as_a_table(exported, own_slice, tmp_path):
    project = shutil.copytree(own_slice, tmp_path / "project", symlinks=True)
    config = yaml.safe_load((project / "tests/pipeline/tiny.yaml").read_text())
    config["experiments"][0]["recipe"] = "theirs"
    config["recipes"]["theirs"] = {"extends": "tiny", "docids": {"table": f"{EXPERIMENT}/export/ddro/docids.txt"}}
    (project / "theirs.json").write_text(json.dumps(config))
    wanted = "results/awscli/pq/docids.parquet"
    assert "assign_docids" in snakemake(project, wanted, config="theirs.json")
    before, after = (read_table(folder / wanted, tables.DOCIDS, ["docno"]) for folder in (own_slice, project))
    assert after.equals(before) and after.num_rows == 80
