"""Direct Document Relevance Optimization: from BM25's rankings to pairs, and to a model that prefers relevant docids."""


rule make_document_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        queries=training_table("queries"),
        qrels=training_table("qrels"),
    output:
        queries="results/{dataset}/documents/queries.parquet",
        qrels="results/{dataset}/documents/qrels.parquet",
        cost="<costs>/{dataset}/make_document_queries.json",
    log:
        "<logs>/{dataset}/make_document_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/make_document_queries.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        **script("make_document_queries"),
    message:
        "{wildcards.dataset}: taking titles and first sentences for queries"
    shell:
        "python {params.script} --corpus {input.corpus} --queries {input.queries} --qrels {input.qrels}"
        " --output-queries {output.queries} --output-qrels {output.qrels} --cost {output.cost} 2>&1 | tee {log}"


rule rank_for_negatives:
    input:
        model=model_of("sft"),
        trie="results/{dataset}/{docid}/trie.safetensors",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries=table_of_split("queries"),
    output:
        result="results/<experiment>/negatives/{split}.ranking.parquet",
        cost="<costs>/<experiment>/rank_for_negatives.{split}.json",
    log:
        "<logs>/<experiment>/rank_for_negatives.{split}.log",
    benchmark:
        "<benchmarks>/<experiment>/rank_for_negatives.{split}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores(16)
    params:
        **script("rank_for_negatives"),
        settings=recipe_options(
            "negatives.beams", "decoding.length_penalty", "decoding.max_query_tokens", "decoding.precision"
        ),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: ranking for the {wildcards.split} queries, to choose negatives"
    shell:
        "python {params.script} --model {input.model} --trie {input.trie} --docids {input.docids}"
        " --queries {input.queries} --split {wildcards.split} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule mine_negatives:
    input:
        run=run_of_negatives,
        queries=table_of_split("queries"),
        qrels=table_of_split("qrels"),
        docids="results/{dataset}/{docid}/docids.parquet",
        ranking=branch(
            recipe_value("negatives.beams"),
            then="results/<experiment>/negatives/{split}.ranking.parquet",
        ),
    output:
        result="results/<experiment>/negatives/{split}.parquet",
        cost="<costs>/<experiment>/mine_negatives.{split}.json",
    log:
        "<logs>/<experiment>/mine_negatives.{split}.log",
    benchmark:
        "<benchmarks>/<experiment>/mine_negatives.{split}.tsv"
    priority: 1  # before the trainings, where it can be: what has no negative is told then
    conda:
        "../../envs/data.yaml"
    params:
        **script("mine_negatives"),
        ranking=input_options("ranking"),
        settings=recipe_options(
            "negatives.per_query",
            "negatives.strata",
            "negatives.remainder",
            "negatives.collection",
            "negatives.positives",
            "seed",
        ),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: drawing negatives for the {wildcards.split} queries"
    shell:
        "python {params.script} --run {input.run} --queries {input.queries} --qrels {input.qrels}"
        " --docids {input.docids} --split {wildcards.split} {params.ranking} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule train_ddro:
    input:
        initial=model_of("sft"),
        negatives=pairs_to_learn,
        validation_negatives="results/<experiment>/negatives/validation.parquet",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries=table_of_pairs("queries"),
        qrels=table_of_pairs("qrels"),
    output:
        result=directory("results/<experiment>/ddro"),
        cost="<costs>/<experiment>/train_ddro.json",
    log:
        "<logs>/<experiment>/train_ddro.log",
    benchmark:
        "<benchmarks>/<experiment>/train_ddro.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores(16)
    resources:
        gpu=0,
        device_batch=0,
        launcher="",
    params:
        **script("train_ddro"),
        processes=processes,
        settings=recipe_options("ddro", "decoding.length_penalty", "decoding.max_query_tokens", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: optimizing document relevance"
    shell:
        "{resources.launcher} python {params.script} --initial {input.initial} --negatives {input.negatives}"
        " --validation-negatives {input.validation_negatives} --docids {input.docids} --queries {input.queries}"
        " --qrels {input.qrels} {params.settings} --processes {params.processes}"
        " --device-batch-size {resources.device_batch} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"
