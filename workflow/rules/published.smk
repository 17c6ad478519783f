"""Checkpoints of others, evaluated as ours are."""

READING = ("scaled_output", "end_token", "leading_zero")
CHECKPOINTS = load_published(ROOT)
# Their systems are those of the published results that they should give.
MEASURES_OF_CHECKPOINTS = [
    f"results/published/{name}/{entry['of'].split('/')[-1]}.test.json" for name, entry in CHECKPOINTS.items()
]


rule fetch_published:
    output:
        result=directory("results/published/{checkpoint}/fetched"),
        cost="<costs>/published/fetch_published.{checkpoint}.json",
    log:
        "<logs>/published/fetch_published.{checkpoint}.log",
    benchmark:
        "<benchmarks>/published/fetch_published.{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=one_of(CHECKPOINTS),
    localrule: True
    conda:
        "../../envs/training.yaml"
    params:
        **script("fetch_published"),
        settings=lambda wildcards: shlex.join(options(CHECKPOINTS[wildcards.checkpoint], ("model", "docids", "tests"))),
    message:
        "{wildcards.checkpoint}: fetching a published model"
    shell:
        "python {params.script} {params.settings} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule retrieve_published:
    input:
        "results/published/{checkpoint}/fetched",
    output:
        run="results/published/{checkpoint}/run.trec.gz",
        queries="results/published/{checkpoint}/queries.parquet",
        qrels="results/published/{checkpoint}/qrels.parquet",
        corpus="results/published/{checkpoint}/corpus.parquet",
        report="results/published/{checkpoint}/report.json",
        cost="<costs>/published/retrieve_published.{checkpoint}.json",
    log:
        "<logs>/published/retrieve_published.{checkpoint}.log",
    benchmark:
        "<benchmarks>/published/retrieve_published.{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=one_of(CHECKPOINTS),
    conda:
        "../../envs/training.yaml"
    threads: 16
    params:
        **script("retrieve_published"),
        settings=lambda wildcards: shlex.join(
            options(CHECKPOINTS[wildcards.checkpoint], ("beams", "tied_head", *READING, "padding"))
        ),
        folder=subpath(output.run, parent=True),
    message:
        "{wildcards.checkpoint}: ranking with a published model"
    shell:
        "python {params.script} --model {input}/model --docids {input}/docids.txt"
        " --tests {input}/tests.jsonl --tag {wildcards.checkpoint} {params.settings} --output {params.folder}"
        " --cost {output.cost} 2>&1 | tee {log}"


use rule evaluate as evaluate_published with:
    input:
        run="results/published/{checkpoint}/run.trec.gz",
        queries="results/published/{checkpoint}/queries.parquet",
        qrels="results/published/{checkpoint}/qrels.parquet",
        corpus="results/published/{checkpoint}/corpus.parquet",
    output:
        metrics="results/published/{checkpoint}/{system}.{split}.json",
        per_query="results/published/{checkpoint}/{system}.{split}.per_query.parquet",
        cost="<costs>/published/evaluate.{checkpoint}.{system}.{split}.json",
    log:
        "<logs>/published/evaluate.{checkpoint}.{system}.{split}.log",
    benchmark:
        "<benchmarks>/published/evaluate.{checkpoint}.{system}.{split}.tsv"
    wildcard_constraints:
        checkpoint=one_of(CHECKPOINTS),
    params:
        **script("evaluate"),
        settings="--protocol judgement",
    message:
        "{wildcards.checkpoint}: measuring a published model"


rule compare_published:
    input:
        metrics=MEASURES_OF_CHECKPOINTS,
        reports=collect("results/published/{checkpoint}/report.json", checkpoint=CHECKPOINTS),
        expected=project_file("config/expected.yaml"),
    output:
        result="results/published/summary.md",
        cost="<costs>/published/compare_published.json",
    log:
        "<logs>/published/compare_published.log",
    benchmark:
        "<benchmarks>/published/compare_published.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("compare_published"),
        of=" ".join(checkpoint["of"] for checkpoint in CHECKPOINTS.values()),  # Snakemake doesn't see a list's order
    message:
        "Writing published checkpoints beside published results"
    shell:
        "python {params.script} --metrics {input.metrics} --reports {input.reports} --of {params.of}"
        " --expected {input.expected:q}"
        " --output {output.result} --cost {output.cost} 2>&1 | tee {log}"
