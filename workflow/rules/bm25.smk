"""Lexical retrieval: from the corpus, alone or with pseudo queries, to rankings of the queries of each split."""


rule index_bm25:
    input:
        corpus="results/{dataset}/corpus.parquet",
    output:
        result=directory("results/{dataset}/bm25/index"),
        cost="<costs>/{dataset}/index_bm25.json",
    log:
        "<logs>/{dataset}/index_bm25.log",
    benchmark:
        "<benchmarks>/{dataset}/index_bm25.tsv"
    priority: 1  # before the trainings, where it can be: what has no negative is told then
    conda:
        "../../envs/bm25.yaml"
    threads: cores(8)
    params:
        **script("index_bm25"),
        expansion=input_options("pseudo_queries"),
        settings=recipe_options("bm25.text"),
    message:
        "{wildcards.dataset}: indexing the documents with Lucene"
    shell:
        "python {params.script} --corpus {input.corpus} {params.expansion} {params.settings} --threads {threads} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule search_bm25:
    input:
        index="results/{dataset}/bm25/index",
        queries=table_of_split("queries"),
    output:
        result="results/{dataset}/bm25/{split}.run.parquet",
        cost="<costs>/{dataset}/search_bm25.{split}.json",
    log:
        "<logs>/{dataset}/search_bm25.{split}.log",
    benchmark:
        "<benchmarks>/{dataset}/search_bm25.{split}.tsv"
    priority: 1  # before the trainings, where it can be: what has no negative is told then
    conda:
        "../../envs/bm25.yaml"
    threads: cores(8)
    params:
        **script("search_bm25"),
        settings=branch(
            evaluate("{split} == 'test'"),
            then=recipe_options("bm25.ranking", "bm25.depth"),
            otherwise=recipe_options("bm25.mining", "bm25.depth"),
        ),
    message:
        "{wildcards.dataset}: ranking documents for the {wildcards.split} queries with BM25"
    shell:
        "python {params.script} --index {input.index} --queries {input.queries} --split {wildcards.split}"
        " {params.settings} --threads {threads} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


use rule index_bm25 as index_collection with:
    input:
        corpus=documents_of_collection,
    output:
        result=directory("results/{dataset}/bm25/collection/index"),
        cost="<costs>/{dataset}/index_collection.json",
    log:
        "<logs>/{dataset}/index_collection.log",
    benchmark:
        "<benchmarks>/{dataset}/index_collection.tsv"
    message:
        "{wildcards.dataset}: indexing all documents of the collection"


use rule search_bm25 as search_collection with:
    input:
        index="results/{dataset}/bm25/collection/index",
        queries=table_of_split("queries"),
    output:
        result="results/{dataset}/bm25/collection/{split}.run.parquet",
        cost="<costs>/{dataset}/search_collection.{split}.json",
    log:
        "<logs>/{dataset}/search_collection.{split}.log",
    benchmark:
        "<benchmarks>/{dataset}/search_collection.{split}.tsv"
    message:
        "{wildcards.dataset}: ranking all documents of the collection for the {wildcards.split} queries"


use rule index_bm25 as index_doct5query with:
    input:
        corpus="results/{dataset}/corpus.parquet",
        pseudo_queries="results/{dataset}/pseudo_queries.parquet",
    output:
        result=directory("results/{dataset}/doct5query/index"),
        cost="<costs>/{dataset}/index_doct5query.json",
    log:
        "<logs>/{dataset}/index_doct5query.log",
    benchmark:
        "<benchmarks>/{dataset}/index_doct5query.tsv"
    message:
        "{wildcards.dataset}: indexing the documents with their pseudo queries"


use rule search_bm25 as search_doct5query with:
    input:
        index="results/{dataset}/doct5query/index",
        queries=table_of_split("queries"),
    output:
        result="results/{dataset}/doct5query/{split}.run.parquet",
        cost="<costs>/{dataset}/search_doct5query.{split}.json",
    log:
        "<logs>/{dataset}/search_doct5query.{split}.log",
    benchmark:
        "<benchmarks>/{dataset}/search_doct5query.{split}.tsv"
    message:
        "{wildcards.dataset}: ranking documents with their pseudo queries for the {wildcards.split} queries"
