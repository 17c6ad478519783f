"""From the training queries to a model that writes the queries of a document, and to the queries that it writes."""


# Jobs that write pseudo queries; the queries don't depend on it. Another number: --set-scatter pseudo_queries=32.
scattergather:
    pseudo_queries=1,


use rule fetch_model as fetch_doc2query with:
    output:
        result=directory("results/{dataset}/doc2query_base"),
        cost="<costs>/{dataset}/fetch_doc2query.json",
    log:
        "<logs>/{dataset}/fetch_doc2query.log",
    benchmark:
        "<benchmarks>/{dataset}/fetch_doc2query.tsv"
    wildcard_constraints:
        dataset=one_of(RECIPE_OF.keys() - DOC2QUERY_FROM_SCRATCH),
    params:
        **script("fetch_model"),
        settings=recipe_options("doc2query.source", "doc2query.revision"),
    message:
        "{wildcards.dataset}: fetching a model that writes queries"


use rule initialise_model as initialise_doc2query with:
    output:
        result=directory("results/{dataset}/doc2query_base"),
        cost="<costs>/{dataset}/initialise_doc2query.json",
    log:
        "<logs>/{dataset}/initialise_doc2query.log",
    benchmark:
        "<benchmarks>/{dataset}/initialise_doc2query.tsv"
    wildcard_constraints:
        dataset=one_of(DOC2QUERY_FROM_SCRATCH),
    message:
        "{wildcards.dataset}: drawing random weights for a model that writes queries"


rule finetune_doc2query:
    input:
        corpus="results/{dataset}/corpus.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        model=branch(
            recipe_value("doc2query.source"),
            cases={"base": "results/{dataset}/model"},
            otherwise="results/{dataset}/doc2query_base",
        ),
    output:
        result=directory("results/{dataset}/doc2query"),
        cost="<costs>/{dataset}/finetune_doc2query.json",
    log:
        "<logs>/{dataset}/finetune_doc2query.log",
    benchmark:
        "<benchmarks>/{dataset}/finetune_doc2query.tsv"
    priority: -1  # where no stage learns from pseudo queries, trainings that take longer don't wait for them
    conda:
        "../../envs/training.yaml"
    threads: cores(16)
    params:
        **script("finetune_doc2query"),
        settings=recipe_options(
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
        "python {params.script} --corpus {input.corpus} --queries {input.queries} --qrels {input.qrels}"
        " --model {input.model} {params.settings} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule generate_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        model="results/{dataset}/doc2query",
    output:
        result="results/{dataset}/pseudo_queries/{scatteritem}.parquet",
        cost="<costs>/{dataset}/generate_pseudo_queries.{scatteritem}.json",
    log:
        "<logs>/{dataset}/generate_pseudo_queries.{scatteritem}.log",
    benchmark:
        "<benchmarks>/{dataset}/generate_pseudo_queries.{scatteritem}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores(16)
    params:
        **script("generate_pseudo_queries"),
        settings=recipe_options(
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
        "python {params.script} --corpus {input.corpus} --model {input.model}"
        " --shard {wildcards.scatteritem} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule gather_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        shards=gather.pseudo_queries("results/{{dataset}}/pseudo_queries/{scatteritem}.parquet"),
    output:
        result="results/{dataset}/pseudo_queries.parquet",
        cost="<costs>/{dataset}/gather_pseudo_queries.json",
    log:
        "<logs>/{dataset}/gather_pseudo_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/gather_pseudo_queries.tsv"
    wildcard_constraints:
        dataset=one_of(RECIPE_OF.keys() - QUERIES_GIVEN),
    conda:
        "../../envs/bm25.yaml"
    params:
        **script("gather_pseudo_queries"),
        settings=recipe_options("doc2query.per_document"),
    message:
        "{wildcards.dataset}: uniting the pseudo queries, and checking that no document lacks any"
    shell:
        "python {params.script} --corpus {input.corpus} --shards {input.shards} {params.settings}"
        " --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule read_pseudo_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        published=recipe_value("doc2query.published"),
    output:
        result="results/{dataset}/pseudo_queries.parquet",
        cost="<costs>/{dataset}/read_pseudo_queries.json",
    log:
        "<logs>/{dataset}/read_pseudo_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/read_pseudo_queries.tsv"
    wildcard_constraints:
        dataset=one_of(QUERIES_GIVEN),
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_pseudo_queries"),
        settings=recipe_options("doc2query.per_document"),
    message:
        "{wildcards.dataset}: reading pseudo queries that others have written"
    shell:
        "python {params.script} --corpus {input.corpus} --published {input.published:q} {params.settings}"
        " --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule filter_pseudo_queries:
    input:
        pseudo_queries="results/{dataset}/pseudo_queries.parquet",
        index="results/{dataset}/bm25/index",
    output:
        kept="results/{dataset}/pseudo_queries/kept.parquet",
        ranks="results/{dataset}/pseudo_queries/bm25_ranks.parquet",
        cost="<costs>/{dataset}/filter_pseudo_queries.json",
    log:
        "<logs>/{dataset}/filter_pseudo_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/filter_pseudo_queries.tsv"
    conda:
        "../../envs/bm25.yaml"
    threads: cores(8)
    params:
        **script("filter_pseudo_queries"),
        settings=recipe_options("doc2query.keep_within", "bm25.mining"),
    message:
        "{wildcards.dataset}: ranking the documents of pseudo queries with BM25"
    shell:
        "python {params.script} --pseudo-queries {input.pseudo_queries} --index {input.index}"
        " {params.settings} --threads {threads} --output {output.kept} --output-ranks {output.ranks}"
        " --cost {output.cost} 2>&1 | tee {log}"


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
        cost="<costs>/{dataset}/describe_pseudo_queries.json",
    log:
        "<logs>/{dataset}/describe_pseudo_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/describe_pseudo_queries.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("describe_pseudo_queries"),
    message:
        "{wildcards.dataset}: describing the pseudo queries"
    shell:
        "python {params.script} --corpus {input.corpus} --pseudo-queries {input.pseudo_queries}"
        " --kept {input.kept} --ranks {input.ranks} --output-json {output.json} --output-html {output.html}"
        " --output-figure {output.figure} --cost {output.cost} 2>&1 | tee {log}"


rule make_training_queries:
    input:
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        pseudo_queries=pseudo_queries_to_learn,
    output:
        queries="results/{dataset}/training/queries.parquet",
        qrels="results/{dataset}/training/qrels.parquet",
        cost="<costs>/{dataset}/make_training_queries.json",
    log:
        "<logs>/{dataset}/make_training_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/make_training_queries.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        **script("make_training_queries"),
    message:
        "{wildcards.dataset}: no query trains, so pseudo queries do"
    shell:
        "python {params.script} --queries {input.queries} --qrels {input.qrels}"
        " --pseudo-queries {input.pseudo_queries} --output-queries {output.queries} --output-qrels {output.qrels}"
        " --cost {output.cost} 2>&1 | tee {log}"
