"""From rankings to measures, and to tests of the differences between the systems."""


rule evaluate:
    input:
        run=branch(
            evaluate("{system} in ('sft', 'ddro')"),
            then="results/<experiment>/runs/{system}.{split}.trec.gz",
            otherwise="results/{dataset}/{system}/{split}.run.parquet",
        ),
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        corpus="results/{dataset}/corpus.parquet",
    output:
        metrics=in_report(
            "results/<experiment>/metrics/{system}.{split}.json",
            "metrics",
            system="{system}",
            queries="{split}",
        ),
        per_query="results/<experiment>/metrics/{system}.{split}.per_query.parquet",
        cost="<costs>/<experiment>/evaluate.{system}.{split}.json",
    log:
        "<logs>/<experiment>/evaluate.{system}.{split}.log",
    benchmark:
        "<benchmarks>/<experiment>/evaluate.{system}.{split}.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("evaluate"),
        settings=recipe_options("evaluation.protocol", "evaluation.resamples", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: measuring {wildcards.system} on the {wildcards.split} queries"
    shell:
        "python {params.script} --run {input.run} --queries {input.queries} --qrels {input.qrels}"
        " --corpus {input.corpus} --split {wildcards.split} --system {wildcards.system} {params.settings}"
        " --output-metrics {output.metrics} --output-per-query {output.per_query} --cost {output.cost} 2>&1 | tee {log}"


rule compare_systems:
    input:
        unpack(measures_to_compare),
    output:
        result="results/<experiment>/metrics/comparison.{split}.json",
        cost="<costs>/<experiment>/compare_systems.{split}.json",
    log:
        "<logs>/<experiment>/compare_systems.{split}.log",
    benchmark:
        "<benchmarks>/<experiment>/compare_systems.{split}.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("compare_systems"),
        systems=lambda wildcards, input: [f"{system}={path}" for system, path in input.items()],
        settings=recipe_options("evaluation.resamples", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: testing the differences between the systems"
    shell:
        "python {params.script} --per-query {params.systems} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"
