#!/usr/bin/env bash
# Make the plain virtual environment: envs/venv.sh FOLDER. Uses Python 3.11 where there is one ($PYTHON names another).
set -euo pipefail
folder=$1
here=$(dirname "$0")

stop() {
    printf '%s\n' "$@" >&2
    exit 1
}

python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
[ -n "$python" ] || stop "No Python found. On Debian or Ubuntu: apt-get install python3.11 python3.11-venv"
# make has the environment's own Python first on the PATH, and that one is removed below: take what it was made with.
python=$("$python" -c 'import sys; print(sys._base_executable)') || stop "$python: doesn't start."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || stop "$python: doesn't start."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$python is Python $version, but 3.11 or newer is needed." \
        "On Debian or Ubuntu: apt-get install python3.11 python3.11-venv; or name one: make demo PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    stop "$python has no ensurepip, so it can't make a virtual environment." \
        "On Debian or Ubuntu: apt-get install python$version-venv"

echo "Installing the pinned packages with Python $version into $folder: once, some minutes, some 3 GB."
rm -rf "$folder"
"$python" -m venv "$folder"
# connection-pool and pyserini come as source, plain Python; all others as wheels: no compiler is needed.
pip=("$folder/bin/python" -m pip --disable-pip-version-check --no-input install)
"${pip[@]}" --no-deps --require-hashes -r "$here/lock.txt"
# Without a hash: pip takes the CPU build where one is offered, and the CUDA build elsewhere.
"${pip[@]}" torch==2.13.0
cp "$here/lock.txt" "$folder/lock.txt" # what it was made from; also the sign that it's whole
