"""Speech for a corpus of mels, on all cores of a machine or of a Ray cluster.

    python recipes/bulk/bulk.py MELS OUTPUT [--workers 8] [--address auto]

MELS is a folder, or a manifest (.csv or .jsonl with `mel`, and perhaps `id`); it and OUTPUT may be
addresses that fsspec knows. Run it again to go on: what is there is not made again, and what failed
is tried again. OUTPUT/failures.csv says which mels failed, and why.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import jobs
import worker
from jobs import Job, Results, read_jobs
from report import FAILURES, Report
from worker import Attempts, Synthesiser

from diffwave.base.errors import InputError, run_script
from diffwave.base.files import atomic_path, json_text, make_folder, read_json
from diffwave.base.text import notice
from diffwave.vocoder import DEFAULT, Vocoder

SETTINGS = "settings.json"
BLOCK = 64
"""Jobs that a worker takes at a time, and begins anew when it ends before it has reported them."""


def main() -> int:
    """Run; 0 when everything has been spoken, else 2."""
    try:
        with ExitStack() as stack:
            return run(arguments(), stack)
    except KeyboardInterrupt:
        notice("bulk.py: stopped; the same command goes on.")
        return 130


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mels")
    parser.add_argument("output")
    parser.add_argument("--workers", type=int, help="default: one for each core, or GPU")
    parser.add_argument("--address", help="of a Ray cluster (default: this machine alone)")
    parser.add_argument("--checkpoint", default=DEFAULT)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--n-iter", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-enhance", dest="enhance", action="store_false")
    parser.add_argument("--format", choices=("flac", "wav", "ogg"), default="flac")
    parser.add_argument("--gpu", action="store_true", help="a GPU for each worker")
    parser.add_argument("--threads", type=int, default=1, help="of each worker (default: 1)")
    parser.add_argument("--tables", help="folder of failures.csv (default: OUTPUT, if it is one)")
    parser.add_argument("--every", type=float, default=30, help="seconds between lines")
    return parser.parse_args()


def run(options: argparse.Namespace, stack: ExitStack) -> int:
    """Speak what has not been spoken; returns the exit status."""
    if options.threads < 1 or (options.workers is not None and options.workers < 1):
        raise InputError("--workers and --threads are 1 or more.")
    check_voice(options)
    all_jobs = read_jobs(options.mels)
    results = Results(options.output, f".{options.format}")
    tables = stack.enter_context(prepared(options, results))
    spoken = results.done()
    waiting = [job for job in all_jobs if job.id not in spoken]
    already = len(all_jobs) - len(waiting)
    notice(f"{len(all_jobs):,} mels, {already:,} of them spoken before.")
    if waiting:
        ray = stack.enter_context(cluster(options))
        workers = number_of_workers(ray, options)
        report = Report(tables, len(all_jobs), already, min(workers, len(waiting)), options.every)
        for batch in spoken_batches(ray, waiting, workers, results, options):
            report.add(batch)
    else:
        report = Report(tables, len(all_jobs), already, 0, options.every)
    report.write()
    results.remove_leftovers()
    notice(report.line())
    # What is there is counted anew: reports are not what anybody listens to.
    missing = {job.id for job in all_jobs} - results.done() - set(report.failures)
    if missing:
        raise InputError(f"{len(missing)} utterances are missing, {min(missing)} among them.")
    if report.failures:
        raise InputError(
            f"{len(report.failures)} of {len(all_jobs)} mels failed; {tables / FAILURES} says why."
        )
    return 0


def generation(options: argparse.Namespace) -> dict[str, Any]:
    """The options as arguments of a call of the vocoder."""
    return {name: getattr(options, name) for name in ("steps", "n_iter", "seed", "enhance")}


def check_voice(options: argparse.Namespace) -> None:
    """Raise InputError for a voice that is none, or for what it cannot do, before Ray starts."""
    Vocoder.from_pretrained(options.checkpoint, "cpu").stream(iter(()), **generation(options))


@contextmanager
def prepared(options: argparse.Namespace, results: Results) -> Iterator[Path]:
    """The folder of the tables, held against a second run; the earlier run's settings are ours."""
    from filelock import FileLock, Timeout  # which PyTorch needs

    tables = Path(options.tables or ("." if results.remote else options.output))
    make_folder(tables)
    lock = FileLock(tables / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another run writes to {options.output}.") from None
    except OSError as error:
        raise InputError(f"Cannot write to {tables}: {error.strerror}.") from None
    try:
        results.remove_leftovers()
        names = ("checkpoint", "steps", "n_iter", "seed", "enhance", "format")
        settings = {name: getattr(options, name) for name in names} | {"output": options.output}
        path = tables / SETTINGS
        if path.exists():
            differing = [n for n, v in read_json(path).items() if settings.get(n) != v]
            if differing:
                raise InputError(
                    f"{options.output} was begun with another {' and '.join(differing)} "
                    f"({path}); take another folder."
                )
        with atomic_path(path) as temporary:
            temporary.write_text(json_text(settings))
        yield tables
    finally:
        lock.release()


@contextmanager
def cluster(options: argparse.Namespace) -> Iterator[Any]:
    """Ray, connected to a cluster or started here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(f"This recipe needs pip install 'diffwave[bulk]': {error}.") from None
    cores = {}
    if options.address is None and options.workers and not options.gpu:
        cores = {"num_cpus": options.workers * options.threads + 1}  # + 1: reading the jobs
    try:
        ray.init(
            options.address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **cores,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InputError(f"There is no Ray cluster at {options.address}: {error}.") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()


def number_of_workers(ray: Any, options: argparse.Namespace) -> int:
    """As many as were asked for, or as the cluster has room for."""
    resources = ray.cluster_resources()
    if options.gpu:
        count = int(resources.get("GPU", 0))
        if count < (options.workers or 1) and options.address is None:
            raise InputError(f"There are {count} GPUs here, fewer than workers.")
        return options.workers or max(1, count)
    return options.workers or max(1, int(resources["CPU"]) // options.threads)


def spoken_batches(
    ray: Any, waiting: list[Job], workers: int, results: Results, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """What became of the jobs, batch by batch, in any order.

    Ray starts a worker anew that has ended, and gives its block to another; writing the same speech
    under the same name a second time changes nothing.
    """
    import pyarrow

    # The modules of this recipe need not be on the machines of a cluster.
    for module in (jobs, worker):
        ray.cloudpickle.register_pickle_by_value(module)
    attempts = ray.remote(Attempts).options(num_cpus=0, max_restarts=-1, max_task_retries=-1)
    ledger = attempts.remote()
    size = max(1, min(BLOCK, len(waiting) // (4 * workers)))
    blocks = [
        pyarrow.Table.from_pylist([dataclasses.asdict(job) for job in waiting[i : i + size]])
        for i in range(0, len(waiting), size)
    ]
    dataset = ray.data.from_arrow(blocks).map_batches(
        Synthesiser,
        fn_constructor_args=(
            options.checkpoint,
            "cuda" if options.gpu else "cpu",
            options.threads,
            generation(options),
            results,
            lambda id: ray.get(ledger.begin.remote(id)),
            lambda id: ray.get(ledger.end.remote(id)),
        ),
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=options.threads,
        num_gpus=1 if options.gpu else 0,
    )
    try:
        yield from dataset.iter_batches(batch_size=None, prefetch_batches=0)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"Ray gave up ({reason}); the same command goes on.") from None


if __name__ == "__main__":
    run_script(main)
