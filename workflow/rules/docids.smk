"""From the corpus to the model's base weights and to a docid for each document."""


rule fetch_embedding_model:
    output:
        directory("results/{dataset}/embedding_model"),
    log:
        "results/logs/{dataset}/fetch_embedding_model.log",
    benchmark:
        "results/benchmarks/{dataset}/fetch_embedding_model.tsv"
    localrule: True
    conda:
        "../../envs/docids.yaml"
    params:
        code=code("fetch_embedding_model"),
        settings=settings("embedding.model", "embedding.revision"),
    message:
        "{wildcards.dataset}: fetching the embedding model"
    shell:
        "python scripts/fetch_embedding_model.py {params.settings} --output {output} 2>&1 | tee {log}"


rule embed_documents:
    input:
        corpus="results/{dataset}/corpus.parquet",
        model=branch(embedding_model_is_here, otherwise="results/{dataset}/embedding_model"),
    output:
        directory("results/{dataset}/embeddings"),
    log:
        "results/logs/{dataset}/embed_documents.log",
    benchmark:
        "results/benchmarks/{dataset}/embed_documents.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: 16
    params:
        code=code("embed_documents"),
        model=branch(
            embedding_model_is_here,
            then=setting("embedding.model"),
            otherwise="results/{dataset}/embedding_model",
        ),
        settings=settings("embedding.dimension", "embedding.max_tokens", "embedding.batch_size"),
    message:
        "{wildcards.dataset}: embedding the documents"
    shell:
        "python scripts/embed_documents.py --corpus {input.corpus} --model {params.model:q} {params.settings}"
        " --output {output}"
        " 2>&1 | tee {log}"


rule train_pq_codebook:
    input:
        embeddings="results/{dataset}/embeddings",
    output:
        "results/{dataset}/pq/codebook.faiss",
    log:
        "results/logs/{dataset}/train_pq_codebook.log",
    benchmark:
        "results/benchmarks/{dataset}/train_pq_codebook.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: 16
    params:
        code=code("train_pq_codebook"),
        settings=settings("pq", "seed"),
    message:
        "{wildcards.dataset}: training the codebook of the product quantisation"
    shell:
        "python scripts/train_pq_codebook.py --embeddings {input.embeddings} {params.settings} --output {output}"
        " 2>&1 | tee {log}"


rule train_rq_codebook:
    input:
        embeddings="results/{dataset}/embeddings",
    output:
        "results/{dataset}/rq/codebook.faiss",
    log:
        "results/logs/{dataset}/train_rq_codebook.log",
    benchmark:
        "results/benchmarks/{dataset}/train_rq_codebook.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: 16
    params:
        code=code("train_rq_codebook"),
        settings=settings("rq", "seed"),
    message:
        "{wildcards.dataset}: training the codebook of the residual quantisation"
    shell:
        "python scripts/train_rq_codebook.py --embeddings {input.embeddings} {params.settings} --output {output}"
        " 2>&1 | tee {log}"


rule initialise_model:
    input:
        corpus="results/{dataset}/corpus.parquet",
    output:
        directory("results/{dataset}/model"),
    log:
        "results/logs/{dataset}/initialise_model.log",
    benchmark:
        "results/benchmarks/{dataset}/initialise_model.tsv"
    wildcard_constraints:
        dataset=one_of(FROM_SCRATCH),
    conda:
        "../../envs/training.yaml"
    params:
        code=code("initialise_model"),
        settings=settings(
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
        "python scripts/initialise_model.py --corpus {input.corpus} {params.settings} --output {output}"
        " 2>&1 | tee {log}"


rule fetch_model:
    output:
        directory("results/{dataset}/model"),
    log:
        "results/logs/{dataset}/fetch_model.log",
    benchmark:
        "results/benchmarks/{dataset}/fetch_model.tsv"
    wildcard_constraints:
        dataset=one_of(PRETRAINED),
    localrule: True
    conda:
        "../../envs/training.yaml"
    params:
        code=code("fetch_model"),
        settings=settings("model.source", "model.revision"),
    message:
        "{wildcards.dataset}: fetching the pretrained model"
    shell:
        "python scripts/fetch_model.py {params.settings} --output {output} 2>&1 | tee {log}"


rule assign_docids:
    input:
        corpus="results/{dataset}/corpus.parquet",
        model="results/{dataset}/model",
        codebook=branch(has_codebook, then="results/{dataset}/{docid}/codebook.faiss"),
        embeddings=branch(has_codebook, then="results/{dataset}/embeddings"),
        table=branch(setting("docids.table"), then=setting("docids.table")),
    output:
        docids="results/{dataset}/{docid}/docids.parquet",
        report="results/{dataset}/{docid}/docid_report.json",
    log:
        "results/logs/{dataset}/{docid}/assign_docids.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/assign_docids.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: 16
    params:
        code=code("assign_docids"),
        settings=branch(
            evaluate("{docid}"),
            cases={
                "pq": settings("docids.collisions", "pq.subspaces", "pq.centroids"),
                "rq": settings("docids.collisions", "rq.levels", "rq.centroids"),
                "tu": settings("docids.collisions", "tu"),
                "atomic": settings("docids.collisions"),
            },
        ),
        given=optional("codebook", "embeddings", "table"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: giving each document its docid"
    shell:
        "python scripts/assign_docids.py --scheme {wildcards.docid} --corpus {input.corpus} --model {input.model}"
        " {params.given} {params.settings} --output {output.docids} --report {output.report} 2>&1 | tee {log}"


rule plot_docids:
    input:
        "results/{dataset}/{docid}/docid_report.json",
    output:
        report(
            "results/{dataset}/{docid}/docids.svg",
            caption="../report/docids.rst",
            category="Docids",
            subcategory="{dataset}/{docid}",
            labels={"figure": "Collisions and code usage"},
        ),
    log:
        "results/logs/{dataset}/{docid}/plot_docids.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/plot_docids.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("plot_docids"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: drawing how many documents share a docid"
    shell:
        "python scripts/plot_docids.py --report {input} --output {output} 2>&1 | tee {log}"


rule export_docids:
    input:
        "results/{dataset}/{docid}/docids.parquet",
    output:
        "results/{dataset}/{docid}/docids.txt",
    log:
        "results/logs/{dataset}/{docid}/export_docids.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/export_docids.tsv"
    conda:
        "../../envs/docids.yaml"
    params:
        code=code("export_docids"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: writing the docids as the authors publish theirs"
    shell:
        "python scripts/export_docids.py --docids {input} --output {output} 2>&1 | tee {log}"
