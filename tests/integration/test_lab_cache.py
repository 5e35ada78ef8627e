"""An entry of the cache is complete or absent, and made once."""

import threading
import time
from pathlib import Path

import pytest

from edgewright_lab.binaries import binaries
from edgewright_lab.cache import Cache
from edgewright_lab.errors import LabError
from edgewright_lab.ports import PAIR_DISTANCE, free_paired_ports, free_ports
from edgewright_lab.progress import silent


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fails(scratch: Path) -> None:
        (scratch / "half").touch()
        raise LabError("no")

    with pytest.raises(LabError, match="no"):
        cache.make("bin", "x-1", fails, silent)
    assert not cache.entry("bin", "x-1").exists()
    assert list((tmp_path / "bin").iterdir()) == []


def test_of_two_that_want_an_entry_one_makes_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made: list[int] = []
    waited: list[str] = []

    def fill(scratch: Path) -> None:
        made.append(1)
        time.sleep(0.3)
        (scratch / "content").write_text("whole")

    def want() -> None:
        assert (cache.make("bin", "x-1", fill, waited.append) / "content").read_text() == "whole"

    threads = [threading.Thread(target=want) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert waited == ["bin-x-1: another lab is making it; waiting"]


def test_binaries_of_ones_own_are_complete_or_refused(tmp_path: Path) -> None:
    for name in ("etcd", "kube-apiserver"):
        (tmp_path / name).touch(mode=0o755)
    with pytest.raises(LabError, match=r"KUBEBUILDER_ASSETS=.* has no kube-controller-manager"):
        binaries(Cache(tmp_path / "cache"), assets=tmp_path, uv=None, report=silent)
    (tmp_path / "kube-controller-manager").touch(mode=0o755)
    found = binaries(Cache(tmp_path / "cache"), assets=tmp_path, uv=None, report=silent)
    assert found.etcd == tmp_path / "etcd"
    assert not (tmp_path / "cache").exists()


def test_ports_are_different_and_pairs_do_not_overlap() -> None:
    single, paired = free_ports(50), free_paired_ports(50)
    assert len(set(single)) == 50
    every = {*paired, *(port + PAIR_DISTANCE for port in paired)}
    assert len(every) == 100
