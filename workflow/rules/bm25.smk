"""Lexical retrieval: from the corpus to rankings of the queries of each split."""


rule index_bm25:
    input:
        corpus="results/{dataset}/corpus.parquet",
    output:
        directory("results/{dataset}/bm25/index"),
    log:
        "results/logs/{dataset}/index_bm25.log",
    benchmark:
        "results/benchmarks/{dataset}/index_bm25.tsv"
    conda:
        "../../envs/bm25.yaml"
    threads: 8
    params:
        code=code("index_bm25"),
    message:
        "{wildcards.dataset}: indexing the documents with Lucene"
    shell:
        "python scripts/index_bm25.py --corpus {input.corpus} --threads {threads} --output {output} 2>&1 | tee {log}"


rule search_bm25:
    input:
        index="results/{dataset}/bm25/index",
        queries=queries_of_split("queries"),
    output:
        "results/{dataset}/bm25/{split}.run.parquet",
    log:
        "results/logs/{dataset}/search_bm25.{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/search_bm25.{split}.tsv"
    conda:
        "../../envs/bm25.yaml"
    threads: 8
    params:
        code=code("search_bm25"),
        settings=branch(
            evaluate("{split} == 'test'"),
            then=settings("bm25.ranking", "bm25.depth"),
            otherwise=settings("bm25.mining", "bm25.depth"),
        ),
    message:
        "{wildcards.dataset}: ranking documents for the {wildcards.split} queries with BM25"
    shell:
        "python scripts/search_bm25.py --index {input.index} --queries {input.queries} --split {wildcards.split}"
        " {params.settings} --threads {threads} --output {output} 2>&1 | tee {log}"
