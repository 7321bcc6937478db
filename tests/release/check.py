"""The release check: build what people install, install it into empty environments, walk the road there.

    make release-check

From nothing but the built files, outside the checkout: wheel and sdist hold the same; ``gymnasium.make``,
a step, ``scenarios list``, ``advise`` and ``control`` work with the plain wheel, ``train`` and ``export``
with the extra; the small distribution for hosts observes a recorded host, runs the exported policy and
refuses the rest in one line. Dependencies come from the package index, at the versions in constraints.txt.
Says what each step took, and how large the environments are.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "cgroup" / "6.12-v1"
SCENARIOS = {path.stem for path in (ROOT / "configs" / "scenarios").glob("*.yaml")}
FROM_OUTSIDE = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

MAKE_AND_STEP = """
import gymnasium, zswap_gym, sys
assert not zswap_gym.__file__.startswith(sys.argv[1]), zswap_gym.__file__
env = gymnasium.make("zswap_gym:zswap_gym/Writeback-v0", scenario="demo-test")
obs, info = env.reset(seed=1)
obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
assert obs in env.observation_space and info["terms"]["dram_held"] > 0
"""
# Under a promise that everybody keeps, beside a rule that finds nothing to do: so that a policy is champion.
EXPERIMENT = """\
name: few-steps
scenarios: {train: [demo-train]}
promise: {disk_reads_pct_min: 100, psi_added_pct: 100, cpu_pct_per_gib: 100}
trainings: 1
rounds: 1
hosts: 2
draws: 2
imitation: {teacher: "fixed_age(age_s=20,max_bytes=2M)"}
selection: {every: 1, seeds: 1, finalists: 1, final_seeds: 1, test_seeds: 1, rules: [promotion]}
"""
OBSERVE = """\
cgroup_root: {fixture}/cgroup
proc_root: {fixture}/proc
sys_root: {fixture}/sys
cgroups: ["*"]
interval: 1s
"""


class ReleaseError(Exception):
    """A step did not do what it should."""


def run(*command: object, cwd: Path, expect: int = 0, env: Mapping[str, str] = FROM_OUTSIDE) -> str:
    """Standard output of a command, or standard error where another status than 0 is expected."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != expect:
        shown = " ".join(words)[:200]
        raise ReleaseError(f"{shown}: exit {done.returncode}, wanted {expect}\n{done.stdout}{done.stderr}")
    return done.stderr if expect else done.stdout


def ensure(condition: object, message: str) -> None:
    """ReleaseError with the message where the condition does not hold."""
    if not condition:
        raise ReleaseError(message)


class Environment:
    """An empty virtual environment in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / "bin"
        self.site = next(folder.glob("lib/python3*/site-packages"))

    def install(self, *what: object) -> None:
        """With the pinned versions of what it needs."""
        pins = ROOT / "constraints.txt"
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", pins)
        run(self.bin / "python", *pip, *what, cwd=self.bin)

    def size(self) -> str:
        """Megabytes of what was installed, without pip itself."""
        tools = ("pip", "setuptools", "_distutils_hack", "pkg_resources")
        files = [
            file
            for part in self.site.iterdir()
            if not part.name.startswith(tools)
            for file in ([part] if part.is_file() else part.rglob("*"))
            if file.is_file() and "__pycache__" not in file.parts
        ]
        return f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB"


def build(out: Path) -> dict[str, Path]:
    """The files people get: wheel, sdist and the hosts' wheel."""
    python = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    run(*python, out, ".", cwd=ROOT)  # the sdist, and the wheel from it
    run(*python, out / "direct", "--wheel", ".", cwd=ROOT)
    run(*python, out, "--wheel", "packaging/host", cwd=ROOT)
    found = {
        "wheel": next(out.glob("zswap_gym-*.whl")),
        "sdist": next(out.glob("zswap_gym-*.tar.gz")),
        "host": next(out.glob("zswap_gym_host-*.whl")),
    }
    direct = next((out / "direct").glob("*.whl"))
    ensure(
        direct.read_bytes() == found["wheel"].read_bytes(), "the sdist builds another wheel than the checkout"
    )
    for kind in ("wheel", "host"):
        inside = zipfile.ZipFile(found[kind]).namelist()
        tops = {name.split("/")[0] for name in inside}
        ensure(
            {top for top in tops if not top.endswith(".dist-info")} == {"zswap_gym"},
            f"{found[kind].name}: installs {sorted(tops)}",
        )
    with tarfile.open(found["sdist"]) as archive:
        tops = {Path(*Path(name).parts[1:2]) for name in archive.getnames()}
    ensure(Path("agents") in tops and Path("configs") in tops, f"{found['sdist'].name}: holds {sorted(tops)}")
    return found


def walk_plain(wheel: Path, work: Path) -> Environment:
    """What works with the wheel alone."""
    environment = Environment(work / "plain")
    environment.install(wheel)
    command = environment.bin / "zswap-gym"
    run(environment.bin / "python", "-c", MAKE_AND_STEP, ROOT, cwd=work)
    listed = json.loads(run(command, "scenarios", "list", "--json", cwd=work))
    ensure({entry["name"] for entry in listed} == SCENARIOS, "scenarios list: not those of configs/scenarios")
    advice = run(command, "advise", "sqlite_oltp", "--ages", "20", "--budgets", "512K", cwd=work)
    ensure("no writeback (any kernel)" in advice, f"advise: {advice}")
    summary = json.loads(run(command, "control", "simulated", "--decisions", "2", "--json", cwd=work))
    ensure(summary["rounds"] == 2, f"control: {summary}")
    refused = run(command, "train", "demo", cwd=work, expect=2)
    ensure("pip install 'zswap-gym[train]'" in refused, f"train without the extra: {refused}")
    return environment


def walk_training(environment: Environment, wheel: Path, work: Path) -> Path:
    """What the extra adds: a few steps of training, and the exported policy in the controller."""
    environment.install(f"{wheel}[train]")
    command = environment.bin / "zswap-gym"
    (work / "few-steps.yaml").write_text(EXPERIMENT)
    run(command, "train", "few-steps.yaml", "--out", "run", "--json", cwd=work)
    run(command, "export", "run", "--out", "policy.npz", cwd=work)
    return work / "policy.npz"


def walk_sdist(sdist: Path, other: Environment, work: Path) -> None:
    """What an sdist installs, with the dependencies of another environment."""
    environment = Environment(work / "sdist")
    environment.install("--no-deps", sdist)
    (environment.site / "dependencies.pth").write_text(f"{other.site}\n")
    run(environment.bin / "python", "-c", MAKE_AND_STEP, ROOT, cwd=work)
    held = [
        {p.relative_to(e.site) for p in (e.site / "zswap_gym").rglob("*.*")} for e in (environment, other)
    ]
    held = [{path for path in paths if "__pycache__" not in path.parts} for paths in held]
    ensure(held[0] == held[1], f"the sdist installs other files: {sorted(held[0] ^ held[1])}")


def walk_host(wheel: Path, policy: Path, work: Path) -> tuple[Environment, str]:
    """What a host gets: the controller, and one line for everything else. And the controller's memory."""
    environment = Environment(work / "host")
    environment.install(wheel)
    command = environment.bin / "zswap-gym"
    run(command, "control", "--help", cwd=work)
    for more in ("law: aimd\n", f"policy: {policy}\nlaw: never\n"):
        (work / "mine.yaml").write_text(OBSERVE.format(fixture=FIXTURE) + more)
        summary = json.loads(run(command, "control", "mine.yaml", "--decisions", "2", "--json", cwd=work))
        ensure(summary["rounds"] == 2 and summary["cgroups"], f"control: {summary}")
    for words in (("train", "demo"), ("scenarios", "list"), ("control", "simulated", "--decisions", "1")):
        said = run(command, *words, cwd=work, expect=2)
        ensure(said.count("\n") == 1 and "pip install zswap-gym" in said, f"{words}: {said}")
    code = "import resource, sys; from zswap_gym.cli.main import main; main(sys.argv[1:]); "
    code += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    python = environment.bin / "python"
    peak = run(python, "-c", code, "control", "mine.yaml", "--decisions", "3", cwd=work).split()[-1]
    return environment, f"{float(peak):.0f} MiB at most while it observes"


def main() -> int:
    """Everything, with what it took. 1 where a step failed, and its output."""
    with tempfile.TemporaryDirectory(prefix="zswap-gym-release-") as folder:
        work = Path(folder)
        began = time.perf_counter()

        def done(what: str) -> None:
            print(f"{time.perf_counter() - began:6.1f} s  {what}", flush=True)

        try:
            files = build(work / "dist")
            done(
                "built: "
                + ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in files.values())
            )
            plain = walk_plain(files["wheel"], work)
            done(f"plain wheel: make, step, scenarios list, advise, control; {plain.size()} installed")
            walk_sdist(files["sdist"], plain, work)
            done("sdist: the same files, make, step")
            policy = walk_training(plain, files["wheel"], work)
            done("with the train extra: train, export")
            host, memory = walk_host(files["host"], policy, work)
            done(f"host wheel: observe, an exported policy, refusals; {host.size()} installed, {memory}")
        except ReleaseError as error:
            print(f"release check: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
