#!/usr/bin/env bash
# The benchmarks that judge a GPU, one after the other, each with a limit of its own: 8 minutes at most.
# Prints a table of "benchmark, JSON"; what a benchmark says meanwhile goes to the standard error.
#
#     bash tests/benchmarks/gpu.sh > gpu.tsv
set -uo pipefail
cd "$(dirname "$0")/../.."

measure() {  # seconds, then what to run
    local seconds=$1 line
    shift
    line=$(timeout "$seconds" python "tests/benchmarks/$@" | tail -n 1) || line='"failed, or longer than its limit"'
    printf '%s\t%s\n' "$*" "$line"
}

measure 40 decode.py --batch 1 --queries 4 --no-reference
measure 50 decode.py --batch 8 --documents 20000 --repeats 1
measure 40 decode.py --batch 32 --queries 64 --no-reference
measure 40 decode.py --batch 32 --queries 64 --no-reference --precision bfloat16
measure 40 decode.py --batch 8 --docids-like tu --beams 15 --no-reference
measure 50 train.py --parts finetune --no-reference --repeats 1
measure 180 train.py --parts finetune --no-reference --repeats 1 --compile
measure 40 doc2query.py --quick
