"""Direct Document Relevance Optimization: from BM25's rankings to pairs, and to a model that prefers relevant docids."""


rule quote_documents:
    input:
        corpus="results/{dataset}/corpus.parquet",
        queries=training("queries"),
        qrels=training("qrels"),
    output:
        queries="results/{dataset}/documents/queries.parquet",
        qrels="results/{dataset}/documents/qrels.parquet",
    log:
        "results/logs/{dataset}/quote_documents.log",
    benchmark:
        "results/benchmarks/{dataset}/quote_documents.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("quote_documents"),
    message:
        "{wildcards.dataset}: taking titles and first sentences for queries"
    shell:
        "python scripts/quote_documents.py --corpus {input.corpus} --queries {input.queries} --qrels {input.qrels}"
        " --output-queries {output.queries} --output-qrels {output.qrels} 2>&1 | tee {log}"


rule rank_for_negatives:
    input:
        model=model_of("sft"),
        trie="results/{dataset}/{docid}/trie.safetensors",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries=queries_of_split("queries"),
    output:
        "results/{dataset}/{docid}/{recipe}/negatives/{split}.ranking.parquet",
    log:
        "results/logs/{dataset}/{docid}/{recipe}/rank_for_negatives.{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/rank_for_negatives.{split}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 16
    params:
        code=code("rank_for_negatives"),
        settings=settings("negatives.beams", "decoding.max_query_tokens", "decoding.precision"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: ranking for the {wildcards.split} queries, to choose negatives"
    shell:
        "python scripts/rank_for_negatives.py --model {input.model} --trie {input.trie} --docids {input.docids}"
        " --queries {input.queries} --split {wildcards.split} {params.settings} --output {output} 2>&1 | tee {log}"


rule mine_negatives:
    input:
        run="results/{dataset}/bm25/{split}.run.parquet",
        queries=queries_of_split("queries"),
        qrels=queries_of_split("qrels"),
        docids="results/{dataset}/{docid}/docids.parquet",
        ranking=branch(
            setting("negatives.beams"),
            then="results/{dataset}/{docid}/{recipe}/negatives/{split}.ranking.parquet",
        ),
    output:
        "results/{dataset}/{docid}/{recipe}/negatives/{split}.parquet",
    log:
        "results/logs/{dataset}/{docid}/{recipe}/mine_negatives.{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/mine_negatives.{split}.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        code=code("mine_negatives"),
        ranking=optional("ranking"),
        settings=settings("negatives.per_query", "negatives.strata", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: drawing negatives for the {wildcards.split} queries"
    shell:
        "python scripts/mine_negatives.py --run {input.run} --queries {input.queries} --qrels {input.qrels}"
        " --docids {input.docids} --split {wildcards.split} {params.ranking} {params.settings} --output {output}"
        " 2>&1 | tee {log}"


rule train_ddro:
    input:
        initial=model_of("sft"),
        negatives=pairs_to_learn,
        validation_negatives="results/{dataset}/{docid}/{recipe}/negatives/validation.parquet",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries=queries_of_pairs("queries"),
        qrels=queries_of_pairs("qrels"),
    output:
        directory("results/{dataset}/{docid}/{recipe}/ddro"),
    log:
        "results/logs/{dataset}/{docid}/{recipe}/train_ddro.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/train_ddro.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 16
    resources:
        gpu=0,
        device_batch=0,
        launcher="",
    params:
        code=code("train_ddro"),
        settings=settings("ddro", "decoding.max_query_tokens", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: optimizing document relevance"
    shell:
        "{resources.launcher} python scripts/train_ddro.py --initial {input.initial} --negatives {input.negatives}"
        " --validation-negatives {input.validation_negatives} --docids {input.docids} --queries {input.queries}"
        " --qrels {input.qrels} {params.settings} --processes {resources.gpu}"
        " --device-batch-size {resources.device_batch} --output {output} 2>&1 | tee {log}"
