"""Which proxy an installation, or a source tree, is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from celery_mailproxy.errors import MailProxyError
from celery_mailproxy.testing import FakeProxy, install_proxy
from celery_mailproxy.testing.proxy_install import source_install


@pytest.mark.parametrize("layout", ["src/mail_proxy", "mail_proxy", "src/core/mail_proxy"])
def test_a_source_tree_is_found_with_and_without_its_src(tmp_path: Path, layout: str) -> None:
    (tmp_path / layout).mkdir(parents=True)
    found = source_install("v1", tmp_path, python=Path("/usr/bin/python3"))
    assert found.python_path == (tmp_path / "src" if layout.startswith("src") else tmp_path,)
    assert (found.api, found.version, found.python) == ("v1", "source", Path("/usr/bin/python3"))


def test_a_folder_without_a_proxy_is_none(tmp_path: Path) -> None:
    with pytest.raises(MailProxyError, match="source must be a folder with genro-mail-proxy's src/"):
        source_install("v1", tmp_path)


@pytest.mark.parametrize("api", ["commands-0.6", "v1", "rest"])
def test_what_the_package_index_does_not_have_is_said(api: Any) -> None:
    with pytest.raises(MailProxyError, match="source=FOLDER"):
        install_proxy(api)


def test_an_api_that_nobody_knows_is_refused() -> None:
    api: Any = "rest"
    with pytest.raises(ValueError, match="api must be one of 'commands'"):
        FakeProxy(api)
