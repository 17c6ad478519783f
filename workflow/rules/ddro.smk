"""Direct Document Relevance Optimization: from BM25's rankings to pairs, and to a model that prefers relevant docids."""


rule mine_negatives:
    input:
        run="results/{dataset}/bm25/{split}.run.parquet",
        queries=training("queries"),
        qrels=training("qrels"),
        docids="results/{dataset}/{docid}/docids.parquet",
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
        settings=settings("negatives", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: drawing negatives for the {wildcards.split} queries"
    shell:
        "python scripts/mine_negatives.py --run {input.run} --queries {input.queries} --qrels {input.qrels}"
        " --docids {input.docids} --split {wildcards.split} {params.settings} --output {output} 2>&1 | tee {log}"


rule train_ddro:
    input:
        initial=model_of("sft"),
        negatives="results/{dataset}/{docid}/{recipe}/negatives/train.parquet",
        validation_negatives="results/{dataset}/{docid}/{recipe}/negatives/validation.parquet",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries=training("queries"),
        qrels=training("qrels"),
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
