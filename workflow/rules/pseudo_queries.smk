"""From the training queries to a model that writes the queries of a document, and to the queries that it writes."""


# Jobs that write pseudo queries; the queries don't depend on it. Another number: --set-scatter pseudo_queries=32.
scattergather:
    pseudo_queries=1,


use rule fetch_model as fetch_doc2query with:
    output:
        directory("results/{dataset}/doc2query_base"),
    log:
        "results/logs/{dataset}/fetch_doc2query.log",
    benchmark:
        "results/benchmarks/{dataset}/fetch_doc2query.tsv"
    wildcard_constraints:
        dataset=one_of(experiment.dataset for experiment in EXPERIMENTS),
    params:
        code=code("fetch_model"),
        settings=settings("doc2query.source", "doc2query.revision"),
    message:
        "{wildcards.dataset}: fetching a model that writes queries"


rule finetune_doc2query:
    input:
        corpus="results/{dataset}/corpus.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        model=branch(
            setting("doc2query.source"),
            cases={"base": "results/{dataset}/model"},
            otherwise="results/{dataset}/doc2query_base",
        ),
    output:
        directory("results/{dataset}/doc2query"),
    log:
        "results/logs/{dataset}/finetune_doc2query.log",
    benchmark:
        "results/benchmarks/{dataset}/finetune_doc2query.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 16
    params:
        code=code("finetune_doc2query"),
        settings=settings(
            "doc2query.epochs",
            "doc2query.learning_rate",
            "doc2query.batch_size",
            "doc2query.warmup_share",
            "doc2query.dropout",
            "doc2query.evaluations",
            "doc2query.patience",
            "doc2query.max_document_tokens",
            "doc2query.max_query_tokens",
            "seed",
        ),
    message:
        "{wildcards.dataset}: training a model to write the queries of a document"
    shell:
        "python scripts/finetune_doc2query.py --corpus {input.corpus} --queries {input.queries} --qrels {input.qrels}"
        " --model {input.model} {params.settings} --output {output} 2>&1 | tee {log}"


rule generate_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        model="results/{dataset}/doc2query",
    output:
        "results/{dataset}/pseudo_queries/{scatteritem}.parquet",
    log:
        "results/logs/{dataset}/generate_pseudo_queries.{scatteritem}.log",
    benchmark:
        "results/benchmarks/{dataset}/generate_pseudo_queries.{scatteritem}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 16
    params:
        code=code("generate_pseudo_queries"),
        settings=settings(
            "doc2query.engine",
            "doc2query.max_document_tokens",
            "doc2query.max_query_tokens",
            "doc2query.per_document",
            "doc2query.beams",
            "doc2query.top_k",
            "doc2query.redraws",
            "seed",
        ),
    message:
        "{wildcards.dataset}: writing pseudo queries for each document, part {wildcards.scatteritem}"
    shell:
        "python scripts/generate_pseudo_queries.py --corpus {input.corpus} --model {input.model}"
        " --shard {wildcards.scatteritem} {params.settings} --output {output} 2>&1 | tee {log}"


rule gather_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        shards=gather.pseudo_queries("results/{{dataset}}/pseudo_queries/{scatteritem}.parquet"),
    output:
        "results/{dataset}/pseudo_queries.parquet",
    log:
        "results/logs/{dataset}/gather_pseudo_queries.log",
    benchmark:
        "results/benchmarks/{dataset}/gather_pseudo_queries.tsv"
    wildcard_constraints:
        dataset=one_of(WRITTEN),
    conda:
        "../../envs/bm25.yaml"
    params:
        code=code("gather_pseudo_queries"),
        settings=settings("doc2query.per_document"),
    message:
        "{wildcards.dataset}: uniting the pseudo queries, and checking that no document lacks any"
    shell:
        "python scripts/gather_pseudo_queries.py --corpus {input.corpus} --shards {input.shards} {params.settings}"
        " --output {output} 2>&1 | tee {log}"


rule read_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        published=setting("doc2query.published"),
    output:
        "results/{dataset}/pseudo_queries.parquet",
    log:
        "results/logs/{dataset}/read_pseudo_queries.log",
    benchmark:
        "results/benchmarks/{dataset}/read_pseudo_queries.tsv"
    wildcard_constraints:
        dataset=one_of(PUBLISHED),
    conda:
        "../../envs/data.yaml"
    params:
        code=code("read_pseudo_queries"),
        settings=settings("doc2query.per_document"),
    message:
        "{wildcards.dataset}: reading pseudo queries that others have written"
    shell:
        "python scripts/read_pseudo_queries.py --corpus {input.corpus} --published {input.published:q} {params.settings}"
        " --output {output} 2>&1 | tee {log}"


rule filter_pseudo_queries:
    input:
        pseudo_queries="results/{dataset}/pseudo_queries.parquet",
        index="results/{dataset}/bm25/index",
    output:
        kept="results/{dataset}/pseudo_queries/kept.parquet",
        ranks="results/{dataset}/pseudo_queries/bm25_ranks.parquet",
    log:
        "results/logs/{dataset}/filter_pseudo_queries.log",
    benchmark:
        "results/benchmarks/{dataset}/filter_pseudo_queries.tsv"
    conda:
        "../../envs/bm25.yaml"
    threads: 8
    params:
        code=code("filter_pseudo_queries"),
        settings=settings("doc2query.keep_within", "bm25.mining"),
    message:
        "{wildcards.dataset}: ranking the documents of pseudo queries with BM25"
    shell:
        "python scripts/filter_pseudo_queries.py --pseudo-queries {input.pseudo_queries} --index {input.index}"
        " {params.settings} --threads {threads} --output {output.kept} --output-ranks {output.ranks} 2>&1 | tee {log}"


rule describe_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        pseudo_queries="results/{dataset}/pseudo_queries.parquet",
        kept="results/{dataset}/pseudo_queries/kept.parquet",
        ranks="results/{dataset}/pseudo_queries/bm25_ranks.parquet",
    output:
        json="results/{dataset}/pseudo_queries/quality.json",
        html=report(
            "results/{dataset}/pseudo_queries/quality.html",
            caption="../report/pseudo_queries.rst",
            category="Pseudo queries",
            labels={"data set": "{dataset}", "content": "Numbers and ten samples"},
        ),
        figure=report(
            "results/{dataset}/pseudo_queries/quality.svg",
            caption="../report/pseudo_queries.rst",
            category="Pseudo queries",
            labels={"data set": "{dataset}", "content": "Lengths and BM25 ranks"},
        ),
    log:
        "results/logs/{dataset}/describe_pseudo_queries.log",
    benchmark:
        "results/benchmarks/{dataset}/describe_pseudo_queries.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("describe_pseudo_queries"),
    message:
        "{wildcards.dataset}: describing the pseudo queries"
    shell:
        "python scripts/describe_pseudo_queries.py --corpus {input.corpus} --pseudo-queries {input.pseudo_queries}"
        " --kept {input.kept} --ranks {input.ranks} --output-json {output.json} --output-html {output.html}"
        " --output-figure {output.figure} 2>&1 | tee {log}"


rule judge_pseudo_queries:
    input:
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        pseudo_queries=pseudo_queries_to_learn,
    output:
        queries="results/{dataset}/training/queries.parquet",
        qrels="results/{dataset}/training/qrels.parquet",
    log:
        "results/logs/{dataset}/judge_pseudo_queries.log",
    benchmark:
        "results/benchmarks/{dataset}/judge_pseudo_queries.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("judge_pseudo_queries"),
    message:
        "{wildcards.dataset}: no query trains, so pseudo queries do"
    shell:
        "python scripts/judge_pseudo_queries.py --queries {input.queries} --qrels {input.qrels}"
        " --pseudo-queries {input.pseudo_queries} --output-queries {output.queries} --output-qrels {output.qrels}"
        " 2>&1 | tee {log}"
