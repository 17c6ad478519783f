"""The model that all training begins with: its tokenizer and weights."""


rule initialise_model:
    input:
        corpus="results/{dataset}/corpus.parquet",
    output:
        result=directory("results/{dataset}/model"),
        cost="<costs>/{dataset}/initialise_model.json",
    log:
        "<logs>/{dataset}/initialise_model.log",
    benchmark:
        "<benchmarks>/{dataset}/initialise_model.tsv"
    wildcard_constraints:
        dataset=one_of(FROM_SCRATCH),
    conda:
        "../../envs/training.yaml"
    params:
        **script("initialise_model"),
        settings=recipe_options(
            "model.vocabulary_size",
            "model.d_model",
            "model.d_kv",
            "model.d_ff",
            "model.layers",
            "model.decoder_layers",
            "model.heads",
            "model.embedding_std",
            "seed",
        ),
    message:
        "{wildcards.dataset}: training a tokenizer on the corpus and drawing random weights"
    shell:
        "python {params.script} --corpus {input.corpus} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule initialise_decoder:
    output:
        result=directory("results/{dataset}/model"),
        cost="<costs>/{dataset}/initialise_decoder.json",
    log:
        "<logs>/{dataset}/initialise_decoder.log",
    benchmark:
        "<benchmarks>/{dataset}/initialise_decoder.tsv"
    wildcard_constraints:
        dataset=one_of(FROZEN),
    conda:
        "../../envs/docids.yaml"
    params:
        **script("initialise_decoder"),
        settings=recipe_options(
            "model.source",
            "model.d_kv",
            "model.d_ff",
            "model.decoder_layers",
            "model.heads",
            "model.embedding_std",
            "seed",
        ),
    message:
        "{wildcards.dataset}: putting a decoder with random weights on a pretrained encoder"
    shell:
        "python {params.script} {params.settings} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule fetch_model:
    output:
        result=directory("results/{dataset}/model"),
        cost="<costs>/{dataset}/fetch_model.json",
    log:
        "<logs>/{dataset}/fetch_model.log",
    benchmark:
        "<benchmarks>/{dataset}/fetch_model.tsv"
    wildcard_constraints:
        dataset=one_of(RECIPE_OF.keys() - FROM_SCRATCH - FROZEN),
    localrule: True
    conda:
        "../../envs/training.yaml"
    params:
        **script("fetch_model"),
        settings=recipe_options("model.source", "model.revision"),
    message:
        "{wildcards.dataset}: fetching the pretrained model"
    shell:
        "python {params.script} {params.settings} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"
