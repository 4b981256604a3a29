"""The README's commands run as they stand there, on less data and for fewer updates unless asked for all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What makes the tour's commands quick; each must be there to be replaced.
SMALLER = {
    "--train 20000": "--train 400 --valid 30 --test 30",
    "--train 4000 --valid 100 --test 300": "--train 60 --valid 10 --test 10",
    "--config recipes/dialogue/config.toml": "--config recipes/dialogue/config.toml --max-update 15",
    "--max-update 1500": "--max-update 15",
    "--max-update 1000": "--max-update 15",
    "--vocab-size 800": "--vocab-size 200",
    "generate data": "generate data --max-len-b 30",
    "generate --path": "generate --max-len-b 30 --path",
}


def tour() -> str:
    """All of the README's shell blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) >= 5
    return "set -euo pipefail\n" + "".join(blocks)


def run(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "recipes").symlink_to(ROOT / "recipes")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )


def test_the_tour_runs_from_text_to_scores(tmp_path: Path) -> None:
    script = tour()
    for long, short in SMALLER.items():
        assert long in script
        script = script.replace(long, short)
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "BLEU" in done.stdout
    references = (tmp_path / "corpus" / "test.de").read_text(encoding="utf-8").splitlines()
    assert len((tmp_path / "output.txt").read_text(encoding="utf-8").splitlines()) == len(references)


@pytest.mark.slow
def test_the_tour_as_it_stands_teaches_the_model(tmp_path: Path) -> None:
    done = run(tour(), tmp_path)
    assert done.returncode == 0, done.stderr
    bleu = re.search(r"^BLEU +([\d.]+)", done.stdout, re.M)
    assert bleu is not None
    assert float(bleu[1]) > 70


def test_every_flag_and_file_the_readme_names_exists() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\(((?!http|#)[^)]+)\)", text):
        assert (ROOT / name).exists(), name
    commands = ("preprocess", "train", "generate", "chat", "score", "average", "plot", "inspect")
    words = [
        [sys.executable, "-m", "s2scli", *command, "--help"]
        for command in ([], *([name] for name in commands))
    ]
    known = "".join(subprocess.run(word, capture_output=True, text=True, check=True).stdout for word in words)
    # In the table of fairseq's flags, the first column is fairseq's own unless the second says "the same".
    ours = re.sub(r"^\| .*?(?<!\\)\| (?!the same)", "", text, flags=re.M)
    # The flags of torchrun, Slurm and curl are theirs.
    ours = re.sub(r"curl (?:.*\\\n)*.*", "", ours)
    ours = re.sub(r"torchrun .*?-m s2scli|^#SBATCH .*?$|\$\(scontrol .*?\)", "", ours, flags=re.M | re.S)
    for flag in sorted(set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))):
        # corpus.py's, TensorBoard's, torchrun's and sacrebleu's
        others = ("--train", "--logdir", "--max-restarts", "--paired-bs")
        assert flag in known or flag in others, flag
