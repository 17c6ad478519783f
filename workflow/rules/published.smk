"""Checkpoints of others, evaluated as ours are; and ours, in a form that others can use."""

PUBLISHED = read_yaml(ROOT / "config/published.yaml")


rule fetch_published:
    output:
        directory("results/published/{checkpoint}/fetched"),
    log:
        "results/logs/published/fetch_published.{checkpoint}.log",
    benchmark:
        "results/benchmarks/published/fetch_published.{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=one_of(PUBLISHED),
    localrule: True
    conda:
        "../../envs/training.yaml"
    params:
        code=code("fetch_published"),
        settings=lambda wildcards: shlex.join(options(PUBLISHED[wildcards.checkpoint], ("model", "docids", "tests"))),
    message:
        "{wildcards.checkpoint}: fetching a published model"
    shell:
        "python scripts/fetch_published.py {params.settings} --output {output} 2>&1 | tee {log}"


rule retrieve_published:
    input:
        "results/published/{checkpoint}/fetched",
    output:
        run="results/published/{checkpoint}/run.trec.gz",
        queries="results/published/{checkpoint}/queries.parquet",
        qrels="results/published/{checkpoint}/qrels.parquet",
        corpus="results/published/{checkpoint}/corpus.parquet",
    log:
        "results/logs/published/retrieve_published.{checkpoint}.log",
    benchmark:
        "results/benchmarks/published/retrieve_published.{checkpoint}.tsv"
    wildcard_constraints:
        checkpoint=one_of(PUBLISHED),
    conda:
        "../../envs/training.yaml"
    threads: 16
    params:
        code=code("retrieve_published"),
        settings=lambda wildcards: shlex.join(options(PUBLISHED[wildcards.checkpoint], ("beams", "tied_head"))),
        folder=subpath(output.run, parent=True),
    message:
        "{wildcards.checkpoint}: ranking with a published model"
    shell:
        "python scripts/retrieve_published.py --model {input}/model --docids {input}/docids.txt"
        " --tests {input}/tests.jsonl --tag {wildcards.checkpoint} {params.settings} --output {params.folder}"
        " 2>&1 | tee {log}"


use rule evaluate as evaluate_published with:
    input:
        run="results/published/{checkpoint}/run.trec.gz",
        queries="results/published/{checkpoint}/queries.parquet",
        qrels="results/published/{checkpoint}/qrels.parquet",
        corpus="results/published/{checkpoint}/corpus.parquet",
    output:
        metrics="results/published/{checkpoint}/{system}.{split}.json",
        per_query="results/published/{checkpoint}/{system}.{split}.per_query.parquet",
    log:
        "results/logs/published/evaluate.{checkpoint}.{system}.{split}.log",
    benchmark:
        "results/benchmarks/published/evaluate.{checkpoint}.{system}.{split}.tsv"
    wildcard_constraints:
        checkpoint=one_of(PUBLISHED),
    params:
        code=code("evaluate"),
        settings="--protocol judgement",
    message:
        "{wildcards.checkpoint}: measuring a published model"


rule compare_published:
    input:
        metrics=expand("results/published/{checkpoint}/ddro.test.json", checkpoint=PUBLISHED),
        expected="config/expected.yaml",
    output:
        "results/published/summary.md",
    log:
        "results/logs/published/compare_published.log",
    benchmark:
        "results/benchmarks/published/compare_published.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("compare_published"),
        of=" ".join(checkpoint["of"] for checkpoint in PUBLISHED.values()),  # Snakemake doesn't see a list's order
    message:
        "Writing published checkpoints beside published results"
    shell:
        "python scripts/compare_published.py --metrics {input.metrics} --of {params.of} --expected {input.expected}"
        " --output {output} 2>&1 | tee {log}"


rule export_model:
    input:
        model=model_of(),
        docids="results/{dataset}/{docid}/docids.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        metrics="results/{dataset}/{docid}/{recipe}/metrics/{system}.test.json",
    output:
        directory("results/{dataset}/{docid}/{recipe}/export/{system}"),
    log:
        "results/logs/{dataset}/{docid}/{recipe}/export_model.{system}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/export_model.{system}.tsv"
    conda:
        "../../envs/training.yaml"
    params:
        code=code("export_model"),
        settings=settings("decoding"),
        recipe=lambda wildcards: json.dumps(experiment_of(wildcards).settings, sort_keys=True),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: exporting {wildcards.system}"
    shell:
        "python scripts/export_model.py --name {wildcards.dataset}-{wildcards.docid}-{wildcards.recipe}-{wildcards.system}"
        " --model {input.model} --docids {input.docids} --queries {input.queries} --qrels {input.qrels}"
        " --metrics {input.metrics} --recipe {params.recipe:q} {params.settings} --output {output} 2>&1 | tee {log}"
