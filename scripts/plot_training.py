"""Draw the training logs of an experiment: losses, validation MRR@10, DDRO's rewards, and rates."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main
from ddro.core.tables import STAGES


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--logs", type=Path, nargs="+", required=True, help="training_log.jsonl of each stage, in order, DDRO's last"
    )
    options.add_argument("--output-loss", type=Path, required=True, help="loss of each SFT stage (SVG)")
    options.add_argument("--output-mrr", type=Path, required=True, help="validation MRR@10 of all stages (SVG)")
    options.add_argument("--output-rewards", type=Path, required=True, help="DDRO's loss, accuracy and margin (SVG)")
    options.add_argument("--output-rates", type=Path, required=True, help="speed, padding and memory (SVG)")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Read the logs and draw the four figures."""
    from ddro.report.figures import loss_figure, rates_figure, rewards_figure, save_svg, validation_mrr_figure
    from ddro.training.log import by_stage, read_training_log

    stages = by_stage(record for path in arguments.logs for record in read_training_log(path))
    sft = {stage: records for stage, records in stages.items() if stage in STAGES}
    if not sft or "ddro" not in stages:
        raise UserError(f"--logs: found the stages {', '.join(stages)}; expected one of {', '.join(STAGES)}, and ddro.")
    save_svg(loss_figure(sft), arguments.output_loss)
    save_svg(validation_mrr_figure(stages), arguments.output_mrr)
    save_svg(rewards_figure(stages["ddro"]), arguments.output_rewards)
    save_svg(rates_figure(stages), arguments.output_rates)


if __name__ == "__main__":
    call_main(parser(), main)
