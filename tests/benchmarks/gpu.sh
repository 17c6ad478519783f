#!/usr/bin/env bash
# The benchmarks that judge a GPU, one after the other, each with a limit of its own: 8 minutes at most.
# Prints "command, JSON" for each figure as soon as it is known, so that nothing is lost where the time is up; what a
# benchmark says meanwhile goes to the standard error. To compile T5-base takes minutes: that comes last.
#
#     bash tests/benchmarks/gpu.sh > gpu.tsv
#     REHEARSE=1 bash tests/benchmarks/gpu.sh      # the same commands at their --quick sizes, on any machine
set -uo pipefail
cd "$(dirname "$0")/../.."

measure() {  # seconds, then what to run
    local seconds=$1 line
    shift
    set -- "$@" ${REHEARSE:+--quick}
    timeout "$seconds" python "tests/benchmarks/$1" "${@:2}" | while IFS= read -r line; do
        printf '%s\t%s\n' "$*" "$line"
    done || printf '%s\t"failed, or longer than its limit"\n' "$*"
}

measure 90 decode.py --batch 32 8 1 --queries 32 --precision float32 tf32 bfloat16 --no-reference
measure 45 decode.py --batch 8 --documents 20000 --repeats 1
measure 45 decode.py --batch 8 --precision float32 tf32 bfloat16 --docids-like tu --beams 15 --no-reference
measure 45 doc2query.py --documents 48 --repeats 1
measure 75 train.py --precision bfloat16 tf32 float32 --parts finetune ddro pretrain --no-reference --repeats 1
measure 180 train.py --parts finetune ddro --no-reference --compile
