"""From the trained models to rankings of the test queries, measures, the final table, and the report."""


# Shards of the queries, each a job of its own: snakemake --set-scatter retrieve=8
scattergather:
    retrieve=1,


rule build_trie:
    input:
        docids="results/{dataset}/{docid}/docids.parquet",
    output:
        "results/{dataset}/{docid}/trie.safetensors",
    log:
        "results/logs/{dataset}/{docid}/build_trie.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/build_trie.tsv"
    conda:
        "../../envs/training.yaml"
    params:
        code=code("build_trie"),
    message:
        "{wildcards.dataset}/{wildcards.docid}: building the trie of the docids"
    shell:
        "python scripts/build_trie.py --docids {input.docids} --output {output} 2>&1 | tee {log}"


rule retrieve:
    input:
        model=model_of(),
        trie="results/{dataset}/{docid}/trie.safetensors",
        docids="results/{dataset}/{docid}/docids.parquet",
        queries="results/{dataset}/queries.parquet",
    output:
        run="results/{dataset}/{docid}/{recipe}/runs/{system}.{split}/{scatteritem}.parquet",
        timing="results/{dataset}/{docid}/{recipe}/runs/{system}.{split}/{scatteritem}.timing.json",
    log:
        "results/logs/{dataset}/{docid}/{recipe}/retrieve.{system}.{split}.{scatteritem}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/retrieve.{system}.{split}.{scatteritem}.tsv"
    conda:
        "../../envs/training.yaml"
    threads: 16
    params:
        code=code("retrieve"),
        settings=settings("decoding"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: ranking for the {wildcards.split} queries with {wildcards.system}, shard {wildcards.scatteritem}"
    shell:
        "python scripts/retrieve.py --model {input.model} --trie {input.trie} --docids {input.docids}"
        " --queries {input.queries} --split {wildcards.split} --shard {wildcards.scatteritem} {params.settings}"
        " --output-run {output.run} --output-timing {output.timing} 2>&1 | tee {log}"


rule gather_run:
    input:
        runs=gather.retrieve("results/{{dataset}}/{{docid}}/{{recipe}}/runs/{{system}}.{{split}}/{scatteritem}.parquet"),
        timings=gather.retrieve(
            "results/{{dataset}}/{{docid}}/{{recipe}}/runs/{{system}}.{{split}}/{scatteritem}.timing.json"
        ),
        queries="results/{dataset}/queries.parquet",
    output:
        run="results/{dataset}/{docid}/{recipe}/runs/{system}.{split}.trec.gz",
        timing="results/{dataset}/{docid}/{recipe}/runs/{system}.{split}.timing.json",
    log:
        "results/logs/{dataset}/{docid}/{recipe}/gather_run.{system}.{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/gather_run.{system}.{split}.tsv"
    conda:
        "../../envs/training.yaml"
    params:
        code=code("gather_run"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: gathering the shards of {wildcards.system}'s run"
    shell:
        "python scripts/gather_run.py --runs {input.runs} --timings {input.timings} --queries {input.queries}"
        " --split {wildcards.split} --tag {wildcards.system} --output-run {output.run} --output-timing {output.timing}"
        " 2>&1 | tee {log}"


rule evaluate:
    input:
        run=branch(
            evaluate("{system} == 'bm25'"),
            then="results/{dataset}/bm25/{split}.run.parquet",
            otherwise="results/{dataset}/{docid}/{recipe}/runs/{system}.{split}.trec.gz",
        ),
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        corpus="results/{dataset}/corpus.parquet",
    output:
        metrics=in_report(
            "results/{dataset}/{docid}/{recipe}/metrics/{system}.{split}.json",
            "metrics",
            system="{system}",
            queries="{split}",
        ),
        per_query="results/{dataset}/{docid}/{recipe}/metrics/{system}.{split}.per_query.parquet",
    log:
        "results/logs/{dataset}/{docid}/{recipe}/evaluate.{system}.{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/evaluate.{system}.{split}.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("evaluate"),
        settings=settings("evaluation", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: measuring {wildcards.system} on the {wildcards.split} queries"
    shell:
        "python scripts/evaluate.py --run {input.run} --queries {input.queries} --qrels {input.qrels}"
        " --corpus {input.corpus} --split {wildcards.split} --system {wildcards.system} {params.settings}"
        " --output-metrics {output.metrics} --output-per-query {output.per_query} 2>&1 | tee {log}"


rule compare_systems:
    input:
        bm25="results/{dataset}/{docid}/{recipe}/metrics/bm25.{split}.per_query.parquet",
        sft="results/{dataset}/{docid}/{recipe}/metrics/sft.{split}.per_query.parquet",
        ddro="results/{dataset}/{docid}/{recipe}/metrics/ddro.{split}.per_query.parquet",
    output:
        "results/{dataset}/{docid}/{recipe}/metrics/comparison.{split}.json",
    log:
        "results/logs/{dataset}/{docid}/{recipe}/compare_systems.{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/compare_systems.{split}.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("compare_systems"),
        settings=settings("evaluation.resamples", "seed"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: testing the differences between the systems"
    shell:
        "python scripts/compare_systems.py --per-query bm25={input.bm25} sft={input.sft} ddro={input.ddro}"
        " {params.settings} --output {output} 2>&1 | tee {log}"


rule plot_training:
    input:
        trained_models,
    output:
        loss=in_report("results/{dataset}/{docid}/{recipe}/figures/loss.svg", "training", figure="Loss"),
        mrr=in_report("results/{dataset}/{docid}/{recipe}/figures/mrr.svg", "training", figure="MRR@10"),
        rewards=in_report("results/{dataset}/{docid}/{recipe}/figures/rewards.svg", "training", figure="Preference"),
        rates=in_report("results/{dataset}/{docid}/{recipe}/figures/rates.svg", "training", figure="Speed"),
    log:
        "results/logs/{dataset}/{docid}/{recipe}/plot_training.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/plot_training.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("plot_training"),
        logs=lambda wildcards, input: [f"{folder}/training_log.jsonl" for folder in input],
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: drawing the training curves"
    shell:
        "python scripts/plot_training.py --logs {params.logs} --output-loss {output.loss} --output-mrr {output.mrr}"
        " --output-rewards {output.rewards} --output-rates {output.rates} 2>&1 | tee {log}"


rule show_samples:
    input:
        bm25="results/{dataset}/bm25/test.run.parquet",
        sft="results/{dataset}/{docid}/{recipe}/runs/sft.test.trec.gz",
        ddro="results/{dataset}/{docid}/{recipe}/runs/ddro.test.trec.gz",
        per_query="results/{dataset}/{docid}/{recipe}/metrics/ddro.test.per_query.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        corpus="results/{dataset}/corpus.parquet",
    output:
        in_report("results/{dataset}/{docid}/{recipe}/samples.html", "samples", content="Sample queries"),
    log:
        "results/logs/{dataset}/{docid}/{recipe}/show_samples.log",
    benchmark:
        "results/benchmarks/{dataset}/{docid}/{recipe}/show_samples.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("show_samples"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: showing sample queries"
    shell:
        "python scripts/show_samples.py --bm25 {input.bm25} --sft {input.sft} --ddro {input.ddro}"
        " --per-query {input.per_query} --queries {input.queries} --qrels {input.qrels} --corpus {input.corpus}"
        " --output {output} 2>&1 | tee {log}"


rule note_versions:
    input:
        summary="results/summary.csv",
        lock="envs/lock.txt",
    output:
        page=report(
            "results/versions.html",
            caption="../report/versions.rst",
            category="Results",
            labels={"content": "Versions and settings"},
        ),
        settings="results/settings.json",
    log:
        "results/logs/note_versions.log",
    benchmark:
        "results/benchmarks/note_versions.tsv"
    localrule: True
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("note_versions"),
        settings=settings_of_all(),
    message:
        "Noting versions and settings"
    shell:
        "(printf '%s\\n' {params.settings:q} > {output.settings}"
        " && python scripts/note_versions.py --lock {input.lock} --settings {output.settings} --output {output.page})"
        " 2>&1 | tee {log}"


rule plot_ablation:
    input:
        collect(
            "results/{experiment.dataset}/{experiment.docid}/{experiment.recipe}/metrics/{system}.test.json",
            experiment=EXPERIMENTS,
            system=["ddro", "sft"],
        ),
    output:
        report(
            "results/ablation.svg",
            caption="../report/ablation.rst",
            category="Results",
            labels={"content": "Ablations"},
        ),
    log:
        "results/logs/plot_ablation.log",
    benchmark:
        "results/benchmarks/plot_ablation.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("plot_ablation"),
        # Snakemake doesn't see the order of the inputs, and the first is what others are compared with.
        order=" ".join(NAMES),
    message:
        "Drawing MRR@10 of each setting"
    shell:
        "python scripts/plot_ablation.py --metrics {input} --output {output} 2>&1 | tee {log}"


rule summarise:
    input:
        metrics=collect(
            "results/{experiment.dataset}/{experiment.docid}/{experiment.recipe}/metrics/{system}.test.json",
            experiment=EXPERIMENTS,
            system=[*SYSTEMS, "comparison"],
        ),
        data=collect(
            "results/{experiment.dataset}/{part}_report.json",
            experiment=EXPERIMENTS,
            part=["data", "split"],
        ),
        expected="config/expected.yaml",
    output:
        csv="results/summary.csv",
        markdown="results/summary.md",
        html=report(
            "results/summary.html",
            caption="../report/summary.rst",
            category="Results",
            labels={"content": "Table of all systems"},
        ),
    log:
        "results/logs/summarise.log",
    benchmark:
        "results/benchmarks/summarise.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        code=code("summarise"),
        experiments=" ".join(NAMES),
        sft=" ".join(maker(experiment, "sft").recipe for experiment in EXPERIMENTS),
        ddro=" ".join(maker(experiment, "ddro").recipe for experiment in EXPERIMENTS),
    message:
        "Writing the table of all experiments"
    shell:
        "python scripts/summarise.py --results results --experiments {params.experiments} --sft-recipes {params.sft}"
        " --ddro-recipes {params.ddro} --expected {input.expected}"
        " --output-csv {output.csv} --output-markdown {output.markdown} --output-html {output.html} 2>&1 | tee {log}"


rule draw_dag:
    input:
        chapters=expand("workflow/rules/{chapter}.smk", chapter=CHAPTERS),
    output:
        picture=report(
            "results/dag.svg",
            caption="../report/dag.rst",
            category="Results",
            labels={"": "Rules"},
        ),
        config="results/config.json",
    log:
        "results/logs/draw_dag.log",
    benchmark:
        "results/benchmarks/draw_dag.tsv"
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        code=code("draw_dag"),
        config=json.dumps(config),
        experiments=NAMES,
    message:
        "Drawing the rules of this run"
    shell:
        "(printf '%s\\n' {params.config:q} > {output.config}"
        " && snakemake --rulegraph --forceall --nolock --profile none --workflow-profile none"
        " --configfile {output.config}"
        " | python scripts/draw_dag.py --chapters {input.chapters} --experiments {params.experiments}"
        " --output {output.picture}) 2>&1 | tee {log}"
