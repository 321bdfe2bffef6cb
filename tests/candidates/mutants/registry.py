"""The mutants as candidates: a folder each, as in any registry, and beside them what they would be without mistake.

`python -m tests.candidates.mutants.registry FOLDER` writes them; `kernel-gate fuzz --kernels FOLDER --impl zeros`
rejects one.
"""

import shutil
import sys
import tomllib
from pathlib import Path

from tests.candidates.mutants import cuda, wrong

PYTHON = """language = "python"
sources = ["kernel.py"]
devices = ["cpu", "cuda"]
supports = { dtypes = ["float16", "bfloat16", "float32"], causal = [false, true] }
"""
CUDA = """language = "cuda"
sources = ["{source}"]
devices = ["cuda"]
architectures = {architectures}
supports = {{ dtypes = ["float16"], head_dims = [64], causal = [false, true] }}
"""
CUDA_PREFIX = "cuda_"


def write_registry(folder: Path) -> Path:
    """Writes every mutant and control below `folder`, and returns it."""
    text = Path(wrong.__file__).read_text()
    for name in (*wrong.CONTROLS, *wrong.MUTANTS):
        _write(folder / name, PYTHON, "kernel.py", f'{text}\n\nattention = candidate("{name}")\n')
    for header in (*cuda.KERNELS.glob("*.h"), *cuda.KERNELS.glob("*.cuh")):
        shutil.copy(header, folder)
    table = tomllib.loads((cuda.ORIGINAL / "kernel.toml").read_text())
    described = CUDA.format(source=cuda.SOURCE, architectures=table["architectures"])
    for name in ("right", *cuda.MUTANTS):
        _write(folder / f"{CUDA_PREFIX}{name}", described, cuda.SOURCE, cuda.source(name))
    return folder


def _write(folder: Path, described: str, file: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)
    head = f'name = "{folder.name}"\nsummary = "{folder.name.replace("_", " ")}"\n'
    (folder / "kernel.toml").write_text(head + described)


if __name__ == "__main__":
    written = write_registry(Path(sys.argv[1]))
    print(f"written: {len(list(written.glob('*/kernel.toml')))} candidates to {written}")
