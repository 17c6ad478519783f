"""The data set ansible, from a package made here."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import fetch_ansible
from ddro.core.command import UserError
from ddro.corpora.ansible import document, read_module

COPY = '''
DOCUMENTATION = r"""
module: copy_file
short_description: Copies a V(file)
description:
  - Copies a file from C(src) to O(dest), as L(the manual,https://example.org/manual) says.
  - See also M(net.disk.mount_disk) and P(net.disk.path#lookup).
options:
  src:
    description: [Where it is. Never a folder., Must exist.]
  mode:
    description: Rights of O(net.disk.copy_file#module:dest).
  bare: {type: str}
"""
EXAMPLES = """
- name: Copy the nightly backup to another disk.
  net.disk.copy_file: {src: a, dest: b}
- name: Create the folder first
  net.disk.make_folder: {path: b}
- name: Use copy_file for a backup of everything
  copy_file: {src: a, dest: b}
- hosts: all
  tasks:
    - block:
        - name: Keep the rights of the configuration
          net.disk.copy_file: {src: a, dest: b, mode: keep}
"""
raise SystemExit("never run")
'''
SHORT = 'DOCUMENTATION = """\nmodule: short\ndescription: Few words.\n"""\n'
NOT_YAML = 'DOCUMENTATION = """\nmodule: [broken\n"""\n'
UNNAMED = 'DOCUMENTATION = """\ndescription: It has no name.\n"""\n'


@pytest.fixture
def package(tmp_path) -> Path:
    """A folder ansible_collections."""
    folder = tmp_path / "ansible_collections"
    for name, text in {
        "net/disk/plugins/modules/copy_file.py": COPY,
        "net/disk/plugins/modules/more/copy_file.py": COPY,
        "net/disk/plugins/modules/short.py": SHORT,
        "net/disk/plugins/modules/not_yaml.py": NOT_YAML,
        "net/disk/plugins/modules/unnamed.py": UNNAMED,
        "net/disk/plugins/modules/not_python.py": "DOCUMENTATION = (\n",
        "net/disk/plugins/modules/__init__.py": "",
        "net/disk/plugins/module_utils/helper.py": COPY,
        "cisco/ios/plugins/modules/copy_file.py": COPY,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def fetch(folder: Path, output: Path) -> dict:
    words = ["--collections", folder, "--output", output, "--report", output / "report.json"]
    fetch_ansible.main(fetch_ansible.parser().parse_args(list(map(str, words))))
    return json.loads((output / "report.json").read_text())


def test_a_module_as_a_document(package):
    module = read_module(package / "net/disk/plugins/modules/copy_file.py", package)
    found = document(module)
    assert found.docno == "net.disk.copy_file"
    assert found.url == "https://docs.ansible.com/ansible/latest/collections/net/disk/copy_file_module.html"
    assert found.title == "net.disk copy file: Copies a file"
    assert found.body == (
        "Copies a file from src to dest, as the manual says. See also net.disk.mount_disk and net.disk.path. "
        "src: Where it is. mode: Rights of dest."
    )


def test_tasks_that_use_the_module_are_queries_and_all_that_is_left_out_is_counted(package, tmp_path):
    report = fetch(package, tmp_path / "out")
    queries = pq.read_table(tmp_path / "out/queries.parquet").to_pylist()
    texts = {"copy the nightly backup to another disk", "keep the rights of the configuration"}
    assert {(query["text"], query["kind"]) for query in queries} == {(text, "task") for text in texts}
    qrels = pq.read_table(tmp_path / "out/qrels.parquet").to_pylist()
    assert {(row["docno"], row["relevance"]) for row in qrels} == {("net.disk.copy_file", 1)} and len(qrels) == 2
    assert report["left_out"] == {
        "documents of fewer than 8 words": 1,
        "example tasks that say the name of their module": 1,
        "files that are no module": 1,
        "modules of a name that another has": 1,
        "modules of collections whose modules are generated and nearly equal": 1,
        "modules that are not Python": 1,
        "modules whose documentation doesn't name them": 1,
        "modules whose documentation or examples are not YAML": 1,
    }
    assert report["found"]["documents"] == 1


def test_a_folder_without_modules(tmp_path):
    with pytest.raises(UserError, match="no module below it.*pip install --no-deps ansible==11.13.0"):
        fetch(tmp_path, tmp_path / "out")


def test_the_package_isn_t_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch_ansible.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="ansible is not installed. Install it beside the others: .*ansible==11.13.0"):
        fetch_ansible.main(
            fetch_ansible.parser().parse_args(["--output", str(tmp_path), "--report", str(tmp_path / "report.json")])
        )
