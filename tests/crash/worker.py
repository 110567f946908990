"""One of the processes of test_concurrency.py: does one kind of work again and again, and says how often."""

from __future__ import annotations

import os
import random
import sys
import time

from storefs import logs
from storefs.config import load_config
from storefs.formats.hashes import hash_bytes
from storefs.formats.path_info import InvalidPathError, PathInfo
from storefs.gc.roots import add_indirect_root
from storefs.metadata.trees import TreeDamagedError
from storefs.stores.closure import closure
from storefs.stores.local import LocalStore
from storefs.stores.verify import verify_store


def add_some(store: LocalStore, source: random.Random, content: bytes, label: str) -> None:
    """Add a path that refers to another one that is kept meanwhile, as a builder does; check that it stays."""
    first = store.add_text(f"base-{source.randrange(20)}", b"base")
    with store.intake() as intake:
        tree = intake.add_bytes(content)
        path = store.directory.make_fixed_output_path(True, tree.nar_hash, label, [first])
        store.add_temp_root(path)
        intake.register([(tree, PathInfo(path, tree.nar_hash, tree.nar_size, [first]))])
    assert store.path_info(path).references == (first,)
    assert hash_bytes("sha256", b"".join(store.nar(path))) == tree.nar_hash
    assert closure(store, [path]) == {path, first}


def main(job: str, number: int, seconds: float) -> None:
    logs.sink.level = logs.WARNING
    source = random.Random(number)
    config = load_config()
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        # a fresh store each time: its temporary roots end, so that there is something to collect
        with LocalStore(config, map_size=1 << 20, inline_limit=64) as store:
            for _ in range(5):
                if job == "add":
                    add_some(store, source, source.randbytes(source.choice((10, 100, 5000))), "new")
                elif job == "same":
                    # every process adds exactly these contents, and collectors remove them in between
                    add_some(store, source, b"same" * 1000, f"same-{source.randrange(3)}")
                elif job == "query":
                    for path in list(store.all_valid_paths())[:50]:
                        info = store.find_path_info(path)
                        if info is not None:
                            store.from_hash_part(path.hash_part)
                        try:
                            store.referrers(path)
                        except InvalidPathError:
                            continue
                elif job == "collect":
                    collector = store.collector()
                    if source.random() < 0.2:
                        link = f"{config.state_dir}/result-{number}"
                        for path in store.all_valid_paths():
                            add_indirect_root(config.state_dir, store.directory, link, path)
                            break
                        collector.roots()
                        if os.path.lexists(link):
                            os.unlink(link)
                    else:
                        collector.collect(source.choice((2**64 - 1, 5000)))
                    collector.close()
                elif job == "verify":
                    try:
                        assert verify_store(store, check_contents=True).unfixed == []
                    except TreeDamagedError as error:
                        raise AssertionError("a path went away and was reported as damaged") from error
                rounds += 1
    print(rounds)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
