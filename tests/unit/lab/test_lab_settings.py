"""Where a lab takes things from, as the environment says."""

from pathlib import Path

import pytest

from edgewright_lab.errors import LabError
from edgewright_lab.settings import ExternalStore, LabSettings

STORE = {
    "EDGEWRIGHT_LAB_S3_ENDPOINT": "http://store.example:8333",
    "EDGEWRIGHT_LAB_S3_ACCESS_KEY": "access",
    "EDGEWRIGHT_LAB_S3_SECRET_KEY": "secret",
    "EDGEWRIGHT_LAB_S3_BUCKET": "models",
}


def test_an_empty_environment_gives_the_defaults() -> None:
    assert LabSettings.from_env({}) == LabSettings()


def test_paths_come_from_the_environment() -> None:
    env = {
        "EDGEWRIGHT_CACHE": "/cache",
        "EDGEWRIGHT_LAB_KUBECONFIG": "/kubeconfig",
        "KUBEBUILDER_ASSETS": "/assets",
        "UV": "/uv",
    }
    found = LabSettings.from_env(env)
    assert (found.cache, found.kubeconfig) == (Path("/cache"), Path("/kubeconfig"))
    assert (found.kubebuilder_assets, found.uv) == (Path("/assets"), Path("/uv"))


def test_what_is_given_wins_over_the_environment() -> None:
    found = LabSettings.from_env({"EDGEWRIGHT_CACHE": "/cache"}, cache=Path("/mine"), nodes=5)
    assert (found.cache, found.nodes) == (Path("/mine"), 5)


def test_an_external_store_has_four_variables() -> None:
    assert LabSettings.from_env(STORE).external_store == ExternalStore(
        endpoint="http://store.example:8333", access_key="access", secret_key="secret", bucket="models"
    )


@pytest.mark.parametrize("missing", sorted(STORE))
def test_a_store_with_a_part_missing_is_refused(missing: str) -> None:
    with pytest.raises(LabError, match=f"needs {missing} too"):
        LabSettings.from_env({name: value for name, value in STORE.items() if name != missing})


def test_a_misspelt_variable_is_refused() -> None:
    with pytest.raises(LabError, match="not known: EDGEWRIGHT_LAB_KUBECONFG"):
        LabSettings.from_env({"EDGEWRIGHT_LAB_KUBECONFG": "/kubeconfig"})


def test_a_field_that_does_not_exist_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="no knots"):
        LabSettings.from_env({}, knots=2)


def test_the_secret_key_is_never_printed() -> None:
    assert "secret'" not in repr(LabSettings.from_env(STORE))
