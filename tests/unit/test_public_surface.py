"""The public surface: what `celery_mailproxy/__init__.py` states is what the package offers, on demand."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import celery_mailproxy

PACKAGE = Path(celery_mailproxy.__file__).parent


def test_the_stub_repeats_the_surface() -> None:
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    stated = {alias.name: f".{node.module}" for node in imports for alias in node.names}
    assert stated == vars(celery_mailproxy)["_MODULES"]
    assert "send_via_proxy" in stated


@pytest.mark.parametrize("name", celery_mailproxy.__all__)
def test_each_name_can_be_imported(name: str) -> None:
    assert getattr(celery_mailproxy, name) is not None


def test_dir_shows_the_surface_and_nothing_else() -> None:
    assert dir(celery_mailproxy) == [
        "Attachment",
        "CancelOutcome",
        "CancelSend",
        "Cancellation",
        "ConfigurationError",
        "Delivery",
        "DeliveryCancelled",
        "DeliveryError",
        "DeliveryExpired",
        "DeliveryReport",
        "DeliverySuppressed",
        "InvalidMessage",
        "InvalidReport",
        "Kind",
        "MailMessage",
        "MailProxyError",
        "MessageIdInUse",
        "MessageRejected",
        "MessageTooLarge",
        "Pause",
        "Priority",
        "ProxyClient",
        "ProxyRequestError",
        "ProxyUnavailable",
        "ReportReceiver",
        "Status",
        "StoreError",
        "Submission",
        "UnforeseenError",
        "UnsupportedMessage",
        "__version__",
        "attachment_resolver",
        "cancel",
        "cancel_many",
        "deliver_many_via_proxy",
        "deliver_via_proxy",
        "dispatch_reports",
        "get_delivery",
        "pause",
        "prune_deliveries",
        "resume",
        "resume_stalled",
        "run_now",
        "send_many_via_proxy",
        "send_via_proxy",
        "signals",
    ]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'send_by_pigeon'"):
        celery_mailproxy.send_by_pigeon  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_imports_neither_celery_nor_its_rooms() -> None:
    code = "import sys, celery_mailproxy; print(sorted(m for m in sys.modules if m.startswith(('celery', 'httpx'))))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['celery_mailproxy']"


def test_the_package_can_be_imported_from_a_zip(tmp_path: Path) -> None:
    """As from a frozen application: no file is read but by the import system."""
    with zipfile.ZipFile(tmp_path / "application.zip", "w") as archive:
        for path in PACKAGE.rglob("*.py"):
            archive.write(path, path.relative_to(PACKAGE.parent))
    code = "import celery_mailproxy; print(celery_mailproxy.send_via_proxy.name, celery_mailproxy.__file__)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'application.zip')!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert "celery_mailproxy.send_via_proxy" in run.stdout
    assert "application.zip" in run.stdout
