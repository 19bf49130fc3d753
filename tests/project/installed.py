"""What an installed lossim has and does: `make release-check` runs it where there is nothing but the wheel."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import lossim as ls

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).with_name("lossim")
NUMBERS = "--accuracy 0.3 --right 1200 --wrong 900 --max-tokens 8192"


def files(folder: Path) -> set[str]:
    """All of a package but what Python writes and the contracts of its layers, which are for a checkout."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
            and "__pycache__" not in path.parts and path.name != ".importlinter"}


def said(arguments: str) -> str:
    """What the command prints."""
    done = subprocess.run([COMMAND, *arguments.split()], capture_output=True, text=True, check=True)
    return done.stdout


def main() -> None:
    """Fail at the first thing that is not as a user would have it."""
    package = Path(ls.__file__).parent
    assert package.is_relative_to(sys.prefix), f"{package} is not in {sys.prefix}"
    assert files(package) == files(ROOT / "lossim"), files(package) ^ files(ROOT / "lossim")
    assert metadata.version("lossim") == ls.__version__
    assert "usage: lossim" in said("--help")
    policy = ls.policies.reasoning(accuracy=0.3, mean_right=1200, mean_wrong=900, premature=0.7, truncated=0.02,
                                   verbosity=200, max_tokens=8192)
    verdict = ls.drift(ls.schemes.grpo(), policy).verdict
    assert verdict == "responses get longer, +71.5 tokens (+49.7 to +92.1) in a step of 0.01 nats", verdict
    assert said(f"drift {NUMBERS} --scheme grpo").startswith("grpo: undecided: longer in 56 of 64 kernels")
    assert said("demo").count("$ lossim") == 7
    print(f"lossim {ls.__version__}: {len(files(package))} files installed; grpo: {verdict}")


if __name__ == "__main__":
    main()
