"""From the corpus to a docid for each document, and to the trie that a beam search follows."""


rule fetch_embedding_model:
    output:
        result=directory("results/{dataset}/embedding_model"),
        cost="<costs>/{dataset}/fetch_embedding_model.json",
    log:
        "<logs>/{dataset}/fetch_embedding_model.log",
    benchmark:
        "<benchmarks>/{dataset}/fetch_embedding_model.tsv"
    localrule: True
    conda:
        "../../envs/docids.yaml"
    params:
        **script("fetch_embedding_model"),
        settings=recipe_options("embedding.model", "embedding.revision"),
    message:
        "{wildcards.dataset}: fetching the embedding model"
    shell:
        "python {params.script} {params.settings} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule embed_documents:
    input:
        corpus="results/{dataset}/corpus.parquet",
        model=branch(embedding_model_is_here, otherwise="results/{dataset}/embedding_model"),
    output:
        result=directory("results/{dataset}/embeddings"),
        cost="<costs>/{dataset}/embed_documents.json",
    log:
        "<logs>/{dataset}/embed_documents.log",
    benchmark:
        "<benchmarks>/{dataset}/embed_documents.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: cores(16)
    params:
        **script("embed_documents"),
        model=embedding_model,
        settings=recipe_options(
            "embedding.text",
            "embedding.dimension",
            "embedding.max_tokens",
            "embedding.precision",
            "embedding.batch_size",
        ),
    message:
        "{wildcards.dataset}: embedding the documents"
    shell:
        "python {params.script} --corpus {input.corpus} --model {params.model:q} {params.settings}"
        " --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule train_pq_codebook:
    input:
        embeddings="results/{dataset}/embeddings",
    output:
        result="results/{dataset}/pq/codebook.faiss",
        cost="<costs>/{dataset}/train_pq_codebook.json",
    log:
        "<logs>/{dataset}/train_pq_codebook.log",
    benchmark:
        "<benchmarks>/{dataset}/train_pq_codebook.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: cores(16)
    params:
        **script("train_pq_codebook"),
        settings=recipe_options("pq", "seed"),
    message:
        "{wildcards.dataset}: training the codebook of the product quantisation"
    shell:
        "python {params.script} --embeddings {input.embeddings} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule train_rq_codebook:
    input:
        embeddings="results/{dataset}/embeddings",
    output:
        result="results/{dataset}/rq/codebook.faiss",
        cost="<costs>/{dataset}/train_rq_codebook.json",
    log:
        "<logs>/{dataset}/train_rq_codebook.log",
    benchmark:
        "<benchmarks>/{dataset}/train_rq_codebook.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: cores(16)
    params:
        **script("train_rq_codebook"),
        settings=recipe_options("rq", "seed"),
    message:
        "{wildcards.dataset}: training the codebook of the residual quantisation"
    shell:
        "python {params.script} --embeddings {input.embeddings} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule assign_docids:
    input:
        corpus="results/{dataset}/corpus.parquet",
        model="results/{dataset}/model",
        codebook=branch(has_codebook, then="results/{dataset}/{docid}/codebook.faiss"),
        embeddings=branch(has_codebook, then="results/{dataset}/embeddings"),
        table=branch(recipe_value("docids.table"), then=recipe_value("docids.table")),
        queries=branch(ranks_by_training_queries, then="results/{dataset}/queries.parquet"),
        qrels=branch(ranks_by_training_queries, then="results/{dataset}/qrels.parquet"),
    output:
        docids="results/{dataset}/{docid}/docids.parquet",
        report="results/{dataset}/{docid}/docid_report.json",
        cost="<costs>/{dataset}/{docid}/assign_docids.json",
    log:
        "<logs>/{dataset}/{docid}/assign_docids.log",
    benchmark:
        "<benchmarks>/{dataset}/{docid}/assign_docids.tsv"
    conda:
        "../../envs/docids.yaml"
    threads: cores(16)
    params:
        **script("assign_docids"),
        settings=branch(
            evaluate("{docid}"),
            cases={
                "pq": recipe_options("pq.subspaces", "pq.centroids"),
                "rq": recipe_options("rq.levels", "rq.centroids"),
                "tu": recipe_options("tu"),
                "atomic": "",
            },
        ),
        shared=recipe_options("docids.collisions", "docids.order", "seed"),
        given=input_options("codebook", "embeddings", "table", "queries", "qrels"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: giving each document its docid"
    shell:
        "python {params.script} --scheme {wildcards.docid} --corpus {input.corpus} --model {input.model}"
        " {params.given} {params.settings} {params.shared} --output {output.docids} --report {output.report}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule build_trie:
    input:
        docids="results/{dataset}/{docid}/docids.parquet",
    output:
        result="results/{dataset}/{docid}/trie.safetensors",
        cost="<costs>/{dataset}/{docid}/build_trie.json",
    log:
        "<logs>/{dataset}/{docid}/build_trie.log",
    benchmark:
        "<benchmarks>/{dataset}/{docid}/build_trie.tsv"
    conda:
        "../../envs/training.yaml"
    params:
        **script("build_trie"),
        settings=recipe_options("docids.padding"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: building the trie of the docids"
    shell:
        "python {params.script} --docids {input.docids} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule plot_docids:
    input:
        "results/{dataset}/{docid}/docid_report.json",
    output:
        result=report(
            "results/{dataset}/{docid}/docids.svg",
            caption="../report/docids.rst",
            category="Docids",
            subcategory="{dataset}/{docid}",
            labels={"figure": "Collisions and code usage"},
        ),
        cost="<costs>/{dataset}/{docid}/plot_docids.json",
    log:
        "<logs>/{dataset}/{docid}/plot_docids.log",
    benchmark:
        "<benchmarks>/{dataset}/{docid}/plot_docids.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("plot_docids"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: drawing how many documents share a docid"
    shell:
        "python {params.script} --report {input} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule export_docids:
    input:
        "results/{dataset}/{docid}/docids.parquet",
    output:
        result="results/{dataset}/{docid}/docids.txt",
        cost="<costs>/{dataset}/{docid}/export_docids.json",
    log:
        "<logs>/{dataset}/{docid}/export_docids.log",
    benchmark:
        "<benchmarks>/{dataset}/{docid}/export_docids.tsv"
    conda:
        "../../envs/docids.yaml"
    params:
        **script("export_docids"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: writing the docids as the authors publish theirs"
    shell:
        "python {params.script} --docids {input} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"
