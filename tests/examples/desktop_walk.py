"""Clicks through the notes app and prints what is seen; run by test_desktop.py where PySide6 is installed."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asking import Asking, connect
from notes import Window
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QPushButton


def wait(condition: Callable[[], Any], seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        QTest.qWait(10)


def click(window: Window, button: QPushButton) -> dict[str, str]:
    """Click a button and return what the window says once the call ended."""
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not window.summarise.isEnabled()
    wait(window.summarise.isEnabled)
    return {"answer": window.answer.toPlainText(), "status": window.status.text()}


def choose(window: Window, mode: str) -> None:
    window.mode.setCurrentIndex(window.mode.findData(mode))


def main() -> None:
    pictures = Path(sys.argv[1])
    app = QApplication([])
    window = Window(Asking(connect))
    window.show()
    wait(lambda: window.balance.text().endswith("USD"))
    seen: dict[str, Any] = {"balance": window.balance.text()}
    seen["summary"] = click(window, window.summarise)
    wait(lambda: window.balance.text() != seen["balance"])
    seen["balance_after"] = window.balance.text()
    window.grab().save(str(pictures / "desktop.png"))
    window.list.setCurrentRow(1)
    window.language.setText("German")
    seen["translation"] = click(window, window.translate)
    window.note.setPlainText("[[stall-within]] tell me everything")
    QTest.mouseClick(window.summarise, Qt.MouseButton.LeftButton)
    wait(lambda: window.answer.toPlainText())
    began = time.monotonic()
    QTest.mouseClick(window.stop, Qt.MouseButton.LeftButton)
    wait(window.summarise.isEnabled)
    seen["stopped"] = {"status": window.status.text(), "seconds": time.monotonic() - began}
    window.note.setPlainText("A note")
    choose(window, "byok")
    assert window.own_key.isVisible()
    wait(window.add.isEnabled)
    seen["fee"] = window.fee.text()
    window.provider.setText("theirs")
    window.secret.setText("sk-theirs-0123456789abcdef-WXYZ")
    seen["key"] = click(window, window.add)
    window.grab().save(str(pictures / "desktop-own-key.png"))
    assert window.secret.text() == ""
    choose(window, "local")
    assert not window.own_key.isVisible()
    seen["local"] = click(window, window.summarise)
    window.close()
    app.processEvents()
    print(json.dumps(seen))  # noqa: T201 (what the test reads)


main()
