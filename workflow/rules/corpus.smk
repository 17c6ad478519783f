"""From the source of a data set to the documents that are kept and the queries that train, validate and test."""


rule fetch_awscli:
    output:
        documents="results/awscli/raw/documents.parquet",
        queries="results/awscli/raw/queries.parquet",
        qrels="results/awscli/raw/qrels.parquet",
        report="results/awscli/data_report.json",
        cost="<costs>/awscli/fetch_awscli.json",
    log:
        "<logs>/awscli/fetch_awscli.log",
    benchmark:
        "<benchmarks>/awscli/fetch_awscli.tsv"
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        **script("fetch_awscli"),
        folder=subpath(output.documents, parent=True),
    message:
        "Reading the reference texts and examples of the package awscli"
    shell:
        "python {params.script} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule fetch_ansible:
    output:
        documents="results/ansible/raw/documents.parquet",
        queries="results/ansible/raw/queries.parquet",
        qrels="results/ansible/raw/qrels.parquet",
        report="results/ansible/data_report.json",
        cost="<costs>/ansible/fetch_ansible.json",
    log:
        "<logs>/ansible/fetch_ansible.log",
    benchmark:
        "<benchmarks>/ansible/fetch_ansible.tsv"
    localrule: True
    conda:
        "../../envs/ansible.yaml"
    params:
        **script("fetch_ansible"),
        folder=subpath(output.documents, parent=True),
    message:
        "Reading the documentation and examples of the modules of the package ansible"
    shell:
        "python {params.script} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule fetch_file:
    output:
        result="results/{dataset}/download/{file}",
        cost="<costs>/{dataset}/fetch_file.{file}.json",
    log:
        "<logs>/{dataset}/fetch_file.{file}.log",
    benchmark:
        "<benchmarks>/{dataset}/fetch_file.{file}.tsv"
    wildcard_constraints:
        dataset=one_of(DATASETS),
        file=one_of(file["name"] for dataset in DATASETS.values() for file in dataset["files"]),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        **script("fetch_file"),
        checksums=checksums,
        source=source,
    message:
        "{wildcards.dataset}: fetching {wildcards.file}"
    shell:
        "python {params.script} {params.source} {params.checksums} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule read_msmarco:
    input:
        documents="results/msmarco/download/msmarco-docs.tsv.gz",
        train_queries="results/msmarco/download/msmarco-doctrain-queries.tsv.gz",
        train_qrels="results/msmarco/download/msmarco-doctrain-qrels.tsv.gz",
        dev_queries="results/msmarco/download/msmarco-docdev-queries.tsv.gz",
        dev_qrels="results/msmarco/download/msmarco-docdev-qrels.tsv.gz",
    output:
        documents="results/{dataset}/raw/documents.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
        report="results/{dataset}/data_report.json",
        cost="<costs>/{dataset}/read_msmarco.json",
    log:
        "<logs>/{dataset}/read_msmarco.log",
    benchmark:
        "<benchmarks>/{dataset}/read_msmarco.tsv"
    wildcard_constraints:
        dataset=datasets_read_by("msmarco"),
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_msmarco"),
        settings=dataset_options("max_invalid", "expected"),
        folder=subpath(output.documents, parent=True),
    message:
        "{wildcards.dataset}: reading documents, queries and judgements of MS MARCO"
    shell:
        "python {params.script} --documents {input.documents}"
        " --train-queries {input.train_queries} --train-qrels {input.train_qrels}"
        " --dev-queries {input.dev_queries} --dev-qrels {input.dev_qrels}"
        " {params.settings} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule read_msmarco_collection:
    input:
        documents="results/msmarco/download/msmarco-docs.tsv.gz",
    output:
        result=temp("results/{dataset}/raw/collection.parquet"),
        cost="<costs>/{dataset}/read_msmarco_collection.json",
    log:
        "<logs>/{dataset}/read_msmarco_collection.log",
    benchmark:
        "<benchmarks>/{dataset}/read_msmarco_collection.tsv"
    wildcard_constraints:
        dataset=datasets_read_by("msmarco"),
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_msmarco_collection"),
        settings=dataset_options("max_invalid"),
    message:
        "{wildcards.dataset}: reading all documents of MS MARCO, judged or not"
    shell:
        "python {params.script} --documents {input.documents} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule read_nq:
    input:
        train="results/nq/download/simplified-nq-train.jsonl.gz",
        dev="results/nq/download/nq-dev-all.jsonl.gz",
    output:
        documents="results/{dataset}/raw/documents.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
        report="results/{dataset}/data_report.json",
        cost="<costs>/{dataset}/read_nq.json",
    log:
        "<logs>/{dataset}/read_nq.log",
    benchmark:
        "<benchmarks>/{dataset}/read_nq.tsv"
    wildcard_constraints:
        dataset=datasets_read_by("nq"),
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_nq"),
        settings=dataset_options("by", "dev_queries", "max_invalid", "expected"),
        folder=subpath(output.documents, parent=True),
    message:
        "{wildcards.dataset}: reading pages, questions and which answers which of Natural Questions"
    shell:
        "python {params.script} --train {input.train} --dev {input.dev}"
        " {params.settings} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule read_nq_ddro:
    input:
        documents="results/nq_ddro/download/nq_merged.json",
        train="results/nq_ddro/download/nq_train.gz",
        dev="results/nq_ddro/download/nq_val.gz",
    output:
        documents="results/{dataset}/raw/documents.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
        report="results/{dataset}/data_report.json",
        cost="<costs>/{dataset}/read_nq_ddro.json",
    log:
        "<logs>/{dataset}/read_nq_ddro.log",
    benchmark:
        "<benchmarks>/{dataset}/read_nq_ddro.tsv"
    wildcard_constraints:
        dataset=datasets_read_by("nq_ddro"),
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_nq_ddro"),
        settings=dataset_options("max_invalid", "expected"),
        folder=subpath(output.documents, parent=True),
    message:
        "{wildcards.dataset}: reading Natural Questions as the authors of DDRO have published it"
    shell:
        "python {params.script} --documents {input.documents} --train {input.train} --dev {input.dev}"
        " {params.settings} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule read_folder:
    input:
        unpack(files_of_folder),
    output:
        documents="results/{dataset}/raw/documents.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
        report="results/{dataset}/data_report.json",
        cost="<costs>/{dataset}/read_folder.json",
    log:
        "<logs>/{dataset}/read_folder.log",
    benchmark:
        "<benchmarks>/{dataset}/read_folder.tsv"
    wildcard_constraints:
        dataset=datasets_read_by("folder"),
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_folder"),
        settings=dataset_options("max_invalid"),
        folder=subpath(output.documents, parent=True),
    message:
        "{wildcards.dataset}: reading documents, queries and judgements of the folder"
    shell:
        "python {params.script} --corpus {input.corpus:q} --queries {input.queries:q} --qrels {input.qrels:q}"
        " {params.settings} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule read_ir_datasets:
    output:
        documents="results/{dataset}/raw/documents.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
        report="results/{dataset}/data_report.json",
        cost="<costs>/{dataset}/read_ir_datasets.json",
    log:
        "<logs>/{dataset}/read_ir_datasets.log",
    benchmark:
        "<benchmarks>/{dataset}/read_ir_datasets.tsv"
    wildcard_constraints:
        dataset=datasets_read_by("ir_datasets"),
    localrule: True
    conda:
        "../../envs/data.yaml"
    params:
        **script("read_ir_datasets"),
        settings=dataset_options("ir_datasets", "max_invalid"),
        folder=subpath(output.documents, parent=True),
    message:
        "{wildcards.dataset}: reading a data set of the catalogue of ir_datasets"
    shell:
        "python {params.script}"
        " {params.settings} --output {params.folder} --report {output.report} --cost {output.cost} 2>&1 | tee {log}"


rule sample_corpus:
    input:
        documents="results/{dataset}/raw/documents.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
    output:
        result="results/{dataset}/corpus.parquet",
        cost="<costs>/{dataset}/sample_corpus.json",
    log:
        "<logs>/{dataset}/sample_corpus.log",
    benchmark:
        "<benchmarks>/{dataset}/sample_corpus.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        **script("sample_corpus"),
        settings=recipe_options("corpus"),
        keep=dataset_options("keep"),
    message:
        "{wildcards.dataset}: choosing the documents with most judged queries"
    shell:
        "python {params.script} --documents {input.documents} --queries {input.queries}"
        " --qrels {input.qrels} {params.settings} {params.keep} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"


rule split_queries:
    input:
        corpus="results/{dataset}/corpus.parquet",
        queries="results/{dataset}/raw/queries.parquet",
        qrels="results/{dataset}/raw/qrels.parquet",
    output:
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        report="results/{dataset}/split_report.json",
        cost="<costs>/{dataset}/split_queries.json",
    log:
        "<logs>/{dataset}/split_queries.log",
    benchmark:
        "<benchmarks>/{dataset}/split_queries.tsv"
    conda:
        "../../envs/data.yaml"
    params:
        **script("split_queries"),
        settings=recipe_options("split"),
        training=dataset_options("training"),
    message:
        "{wildcards.dataset}: splitting the queries into train, validation and test"
    shell:
        "python {params.script} --corpus {input.corpus} --queries {input.queries} --qrels {input.qrels}"
        " {params.settings} {params.training} --output-queries {output.queries} --output-qrels {output.qrels}"
        " --report {output.report} --cost {output.cost} 2>&1 | tee {log}"
