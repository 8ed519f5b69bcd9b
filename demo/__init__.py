"""How weights/demo were made and are measured."""
from pathlib import Path

from training.task import TrainConfig


def demo_config(output: Path, **own) -> TrainConfig:
    """Settings of a training of the demo: by Muon, on data in memory, keeping one checkpoint. own: what each sets for itself."""
    return TrainConfig(output=str(output), optimizer="muon", num_workers=0, checkpoints_total_limit=1, report_to="none", allow_changes=None, **own)
