"""From a trained model to its rankings, by a beam search that can only follow docids."""


# Shards of the queries, each a job of its own: snakemake --set-scatter retrieve=8
scattergather:
    retrieve=1,


rule retrieve:
    input:
        model=model_of(),
        trie="results/{dataset}/{docid}/trie.safetensors",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries="results/{dataset}/queries.parquet",
    output:
        run="results/<experiment>/runs/{system}.{split}/{scatteritem}.parquet",
        timing="results/<experiment>/runs/{system}.{split}/{scatteritem}.timing.json",
        cost="<costs>/<experiment>/retrieve.{system}.{split}.{scatteritem}.json",
    log:
        "<logs>/<experiment>/retrieve.{system}.{split}.{scatteritem}.log",
    benchmark:
        "<benchmarks>/<experiment>/retrieve.{system}.{split}.{scatteritem}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: cores(16)
    params:
        **script("retrieve"),
        settings=recipe_options("decoding"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: ranking for the {wildcards.split} queries with {wildcards.system}, shard {wildcards.scatteritem}"
    shell:
        "python {params.script} --model {input.model} --trie {input.trie} --docids {input.docids}"
        " --queries {input.queries} --split {wildcards.split} --shard {wildcards.scatteritem} {params.settings}"
        " --output-run {output.run} --output-timing {output.timing} --cost {output.cost} 2>&1 | tee {log}"


rule gather_run:
    input:
        runs=gather.retrieve("results/<experiment>/runs/{{system}}.{{split}}/{scatteritem}.parquet"),
        timings=gather.retrieve("results/<experiment>/runs/{{system}}.{{split}}/{scatteritem}.timing.json"),
        queries="results/{dataset}/queries.parquet",
    output:
        run="results/<experiment>/runs/{system}.{split}.trec.gz",
        timing="results/<experiment>/runs/{system}.{split}.timing.json",
        cost="<costs>/<experiment>/gather_run.{system}.{split}.json",
    log:
        "<logs>/<experiment>/gather_run.{system}.{split}.log",
    benchmark:
        "<benchmarks>/<experiment>/gather_run.{system}.{split}.tsv"
    conda:
        "../../envs/training.yaml"
    params:
        **script("gather_run"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: gathering the shards of {wildcards.system}'s run"
    shell:
        "python {params.script} --runs {input.runs} --timings {input.timings} --queries {input.queries}"
        " --split {wildcards.split} --tag {wildcards.system} --output-run {output.run} --output-timing {output.timing}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule search_dense:
    input:
        corpus="results/{dataset}/corpus.parquet",
        embeddings="results/{dataset}/embeddings",
        model=branch(embedding_model_is_here, otherwise="results/{dataset}/embedding_model"),
        queries="results/{dataset}/queries.parquet",
    output:
        run="results/{dataset}/dense/{split}.run.parquet",
        timing="results/{dataset}/dense/{split}.timing.json",
        cost="<costs>/{dataset}/search_dense.{split}.json",
    log:
        "<logs>/{dataset}/search_dense.{split}.log",
    benchmark:
        "<benchmarks>/{dataset}/search_dense.{split}.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: cores(16)
    params:
        **script("search_dense"),
        model=embedding_model,
        settings=recipe_options("bm25.depth"),
    message:
        "{wildcards.dataset}: ranking documents for the {wildcards.split} queries by the embedding model"
    shell:
        "python {params.script} --corpus {input.corpus} --embeddings {input.embeddings} --model {params.model:q}"
        " --queries {input.queries} --split {wildcards.split} {params.settings}"
        " --output-run {output.run} --output-timing {output.timing} --cost {output.cost} 2>&1 | tee {log}"
