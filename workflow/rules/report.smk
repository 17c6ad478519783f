"""What people read and take away: the table, figures and pages of the HTML report, and the model for others."""


rule summarise:
    input:
        metrics=[
            f"results/{experiment.name}/metrics/{system}.test.json"
            for experiment in EXPERIMENTS
            for system in [*systems_of(experiment), "comparison"]
        ],
        data=collect(
            "results/{experiment.dataset}/{part}_report.json",
            experiment=EXPERIMENTS,
            part=["data", "split"],
        ),
        sizes=[size_of(experiment, system) for experiment in EXPERIMENTS for system in systems_of(experiment)],
        costs=ancient(cost_files),  # another picture, newer costs: no reason for another table
        expected=project_file("config/expected.yaml"),
    output:
        csv="results/summary.csv",
        markdown="results/summary.md",
        picture=report(
            "results/systems.svg",
            caption="../report/systems.rst",
            category="Results",
            labels={"content": "MRR@10 of all systems"},
        ),
        html=report(
            "results/summary.html",
            caption="../report/summary.rst",
            category="Results",
            labels={"content": "Table of all systems"},
        ),
        cost="<costs>/summarise.json",
    log:
        "<logs>/summarise.log",
    benchmark:
        "<benchmarks>/summarise.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("summarise"),
        experiments=" ".join(experiment.name for experiment in EXPERIMENTS),
        systems=costs_by_system,
    message:
        "Writing the table of all experiments"
    shell:
        "python {params.script} --results results --experiments {params.experiments} --costs {input.costs}"
        " --costs-by-system {params.systems:q} --expected {input.expected:q}"
        " --output-csv {output.csv} --output-markdown {output.markdown}"
        " --output-picture {output.picture} --output-html {output.html} --cost {output.cost} 2>&1 | tee {log}"


rule plot_ablation:
    input:
        collect(
            "results/{experiment.name}/metrics/{system}.test.json",
            experiment=EXPERIMENTS,
            system=["ddro", "sft"],
        ),
    output:
        result=report(
            "results/ablation.svg",
            caption="../report/ablation.rst",
            category="Results",
            labels={"content": "Ablations"},
        ),
        cost="<costs>/plot_ablation.json",
    log:
        "<logs>/plot_ablation.log",
    benchmark:
        "<benchmarks>/plot_ablation.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("plot_ablation"),
        # Snakemake doesn't see the order of the inputs, and the first is what others are compared with.
        order=" ".join(experiment.name for experiment in EXPERIMENTS),
    message:
        "Drawing MRR@10 of each setting"
    shell:
        "python {params.script} --metrics {input} --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule plot_training:
    input:
        trained_models,
    output:
        loss=in_report("results/<experiment>/figures/loss.svg", "training", figure="Loss"),
        mrr=in_report("results/<experiment>/figures/mrr.svg", "training", figure="MRR@10"),
        rewards=in_report("results/<experiment>/figures/rewards.svg", "training", figure="Preference"),
        rates=in_report("results/<experiment>/figures/rates.svg", "training", figure="Speed"),
        cost="<costs>/<experiment>/plot_training.json",
    log:
        "<logs>/<experiment>/plot_training.log",
    benchmark:
        "<benchmarks>/<experiment>/plot_training.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("plot_training"),
        logs=lambda wildcards, input: [f"{folder}/training_log.jsonl" for folder in input],
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: drawing the training curves"
    shell:
        "python {params.script} --logs {params.logs} --output-loss {output.loss} --output-mrr {output.mrr}"
        " --output-rewards {output.rewards} --output-rates {output.rates} --cost {output.cost} 2>&1 | tee {log}"


rule show_samples:
    input:
        bm25="results/{dataset}/bm25/test.run.parquet",
        sft="results/<experiment>/runs/sft.test.trec.gz",
        ddro="results/<experiment>/runs/ddro.test.trec.gz",
        per_query="results/<experiment>/metrics/ddro.test.per_query.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        corpus="results/{dataset}/corpus.parquet",
    output:
        result=in_report("results/<experiment>/samples.html", "samples", content="Sample queries"),
        cost="<costs>/<experiment>/show_samples.json",
    log:
        "<logs>/<experiment>/show_samples.log",
    benchmark:
        "<benchmarks>/<experiment>/show_samples.tsv"
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("show_samples"),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: showing sample queries"
    shell:
        "python {params.script} --bm25 {input.bm25} --sft {input.sft} --ddro {input.ddro}"
        " --per-query {input.per_query} --queries {input.queries} --qrels {input.qrels} --corpus {input.corpus}"
        " --output {output.result} --cost {output.cost} 2>&1 | tee {log}"


rule note_versions:
    input:
        summary="results/summary.csv",
        lock=project_file("envs/lock.txt"),
    output:
        page=report(
            "results/versions.html",
            caption="../report/versions.rst",
            category="Results",
            labels={"content": "Versions and settings"},
        ),
        settings="results/settings.json",
        cost="<costs>/note_versions.json",
    log:
        "<logs>/note_versions.log",
    benchmark:
        "<benchmarks>/note_versions.tsv"
    localrule: True
    conda:
        "../../envs/evaluation.yaml"
    params:
        **script("note_versions"),
        settings=settings_of_all(),
    message:
        "Noting versions and settings"
    shell:
        "(printf '%s\\n' {params.settings:q} > {output.settings}"
        " && python {params.script} --lock {input.lock:q} --settings {output.settings} --output {output.page}"
        " --cost {output.cost}) 2>&1 | tee {log}"


rule draw_dag:
    input:
        chapters=[project_file(f"workflow/rules/{chapter}.smk") for chapter in CHAPTERS],
    output:
        picture=report(
            "results/dag.svg",
            caption="../report/dag.rst",
            category="Results",
            labels={"": "Rules"},
        ),
        config="results/config.json",
        cost="<costs>/draw_dag.json",
    log:
        "<logs>/draw_dag.log",
    benchmark:
        "<benchmarks>/draw_dag.tsv"
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        **script("draw_dag"),
        snakefile=project_path("workflow/Snakefile"),
        config=json.dumps(config),
        experiments=[experiment.name for experiment in EXPERIMENTS],
    message:
        "Drawing the rules of this run"
    shell:
        "(printf '%s\\n' {params.config:q} > {output.config}"
        " && snakemake --rulegraph --forceall --nolock --profile none --workflow-profile none"
        " --snakefile {params.snakefile}"
        " --configfile {output.config}"
        " | python {params.script} --chapters {input.chapters:q} --experiments {params.experiments}"
        " --output {output.picture} --cost {output.cost}) 2>&1 | tee {log}"


rule export_model:
    input:
        model=model_of(),
        docids="results/{dataset}/{docid}/docids.parquet",
        queries="results/{dataset}/queries.parquet",
        qrels="results/{dataset}/qrels.parquet",
        metrics="results/<experiment>/metrics/{system}.test.json",
    output:
        result=directory("results/<experiment>/export/{system}"),
        cost="<costs>/<experiment>/export_model.{system}.json",
    log:
        "<logs>/<experiment>/export_model.{system}.log",
    benchmark:
        "<benchmarks>/<experiment>/export_model.{system}.tsv"
    conda:
        "../../envs/training.yaml"
    params:
        **script("export_model"),
        settings=recipe_options(
            "decoding.beams", "decoding.length_penalty", "decoding.max_query_tokens", "docids.padding"
        ),
        recipe=lambda wildcards: json.dumps(experiment_of(wildcards).settings, sort_keys=True),
    message:
        "{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}: exporting {wildcards.system}"
    shell:
        "python {params.script} --name {wildcards.dataset}-{wildcards.docid}-{wildcards.recipe}-{wildcards.system}"
        " --model {input.model} --docids {input.docids} --queries {input.queries} --qrels {input.qrels}"
        " --metrics {input.metrics} --recipe {params.recipe:q} {params.settings} --output {output.result}"
        " --cost {output.cost} 2>&1 | tee {log}"
