"""Supervised fine-tuning: from texts and docids to a model that writes a docid, in three stages."""


rule build_instances:
    input:
        corpus="results/{dataset}/corpus.parquet",
        docids="results/{dataset}/{docid}/docids.parquet",
        model="results/{dataset}/model",
        pseudo_queries=branch(
            evaluate("{stage} == 'search_pretrain'"),
            then=pseudo_queries_to_learn,
        ),
        queries=branch(evaluate("{stage} == 'finetune'"), then=training_table("queries")),
        qrels=branch(evaluate("{stage} == 'finetune'"), then=training_table("qrels")),
    output:
        result="results/<experiment>/instances/{stage}.parquet",
        cost="<costs>/<experiment>/build_instances.{stage}.json",
    log:
        "<logs>/<experiment>/build_instances.{stage}.log",
    benchmark:
        "<benchmarks>/<experiment>/build_instances.{stage}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores(4)
    params:
        **script("build_instances"),
        texts=input_options("pseudo_queries", "queries", "qrels"),
        settings=recipe_options("instances", "text.lower_case", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: building the instances of stage {wildcards.stage}"
    shell:
        "python {params.script} --stage {wildcards.stage} --corpus {input.corpus} --docids {input.docids}"
        " --model {input.model} {params.texts} {params.settings} --threads {threads} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule train_sft:
    input:
        instances=instances_to_learn,
        initial=model_before,
        docids="results/{dataset}/{docid}/docids.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
    output:
        result=directory("results/<experiment>/sft/{stage}"),
        cost="<costs>/<experiment>/train_sft.{stage}.json",
    log:
        "<logs>/<experiment>/train_sft.{stage}.log",
    benchmark:
        "<benchmarks>/<experiment>/train_sft.{stage}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores(16)
    resources:
        gpu=0,
        device_batch=0,
        launcher="",
    params:
        **script("train_sft"),
        processes=processes,
        settings=recipe_options(
            "sft.tied_head",
            "sft.head",
            "text.lower_case",
            "sft.shared",
            "sft.stages.{stage}",
            "decoding.length_penalty",
            "decoding.max_query_tokens",
            "seed",
        ),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: fine-tuning, stage {wildcards.stage}"
    shell:
        "{resources.launcher} python {params.script} --stage {wildcards.stage} --instances {input.instances}"
        " --initial {input.initial} --docids {input.docids} --queries {input.queries} --qrels {input.qrels} {params.settings}"
        " --processes {params.processes} --device-batch-size {resources.device_batch} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"
