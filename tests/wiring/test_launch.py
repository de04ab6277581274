"""What the demo refuses before it starts anything."""

import socket
from pathlib import Path

import pytest

from modelfaucet.demo.launch import CannotLaunch, base_url, listen, only_one, summary


def test_taken_port_is_one_clear_line() -> None:
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(CannotLaunch, match=f"port {port}: .*PORT={port + 1}") as raised, listen("127.0.0.1", port):
            pass
        assert "\n" not in str(raised.value)


def test_second_demo_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with only_one(tmp_path) as lock:
        lock.write_text("http://127.0.0.1:8000 (process 1)")
        with pytest.raises(CannotLaunch, match=r"127\.0\.0\.1:8000 \(process 1\)"), only_one(tmp_path):
            pass
    with only_one(tmp_path):
        pass


def test_address_that_is_not_this_machine_is_refused() -> None:
    with pytest.raises(CannotLaunch, match=r"192\.0\.2\.1"), listen("192.0.2.1", 0):
        pass


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]")])  # noqa: S104  (listened on for a moment)
def test_base_url_is_one_that_this_machine_reaches(host: str, shown: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        host, shown = "127.0.0.1", "127.0.0.1"
    with listen(host, 0) as listening:
        assert base_url(listening) == f"http://{shown}:{listening.getsockname()[1]}"


def test_summary_holds_a_call_that_can_be_pasted() -> None:
    demo = {
        "base_url": "http://127.0.0.1:8000/v1",
        "model": "m",
        "virtual_key": "mf_key_x",
        "admin_url": "http://127.0.0.1:8000/admin/",
        "admin_user": "admin",
        "admin_password": "secret",
    }
    text = summary(demo, "http://127.0.0.1:8000")
    assert "curl http://127.0.0.1:8000/v1/chat/completions" in text
    assert "'Authorization: Bearer mf_key_x'" in text
