"""Faucet Notes: a desktop app that sums up and translates notes, with a model that is not its own.

    python notes.py        start it

This file is the window; what it asks for is in `asking.py`. There is no key in either: `backend.py` signs who it is.
"""

import sys
from collections.abc import Sequence
from typing import Any

from asking import Asking, connect
from modelfaucet_sdk import Mode
from PySide6.QtCore import Qt, Slot
from PySide6.QtWidgets import (
    QApplication,
    QBoxLayout,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QMainWindow,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QVBoxLayout,
    QWidget,
)

MODES: tuple[tuple[str, Mode], ...] = (
    ("App's models", "platform"),
    ("My own key", "byok"),
    ("This computer", "local"),
)
STYLE = "QListWidget::item { padding: 6px } QPlainTextEdit { padding: 4px } QPushButton { padding: 4px 12px }"
SUMMARISE = "Sum up this note in at most three sentences, in its own language:\n\n{text}"
TRANSLATE = "Translate this note into {language}. Answer with the translation alone:\n\n{text}"
NOTES = (
    "Harbour meeting\n\nWe open the new pier on 3 May. Ada brings the plans, Bo asks the city for the permit. The "
    "ferry company pays half of the lights, 4,200 dollars. If the permit is late we move to June.",
    "Shopping\n\nTea, rice, two lemons, batteries for the lamp.",
)


class Window(QMainWindow):
    """The notes on the left, the one that is open in the middle, the answer below it."""

    def __init__(self, asking: Asking) -> None:
        super().__init__()
        self.setWindowTitle("Faucet Notes")
        self.resize(900, 600)
        self.asking = asking
        self._build()
        self._wire()
        asking.refresh()

    def _build(self) -> None:
        self.list = QListWidget()
        self.note, self.answer = QPlainTextEdit(), QPlainTextEdit()
        self.answer.setReadOnly(True)
        self.answer.setPlaceholderText("What the model says")
        self.summarise, self.translate, self.stop = (
            QPushButton("Summarise"),
            QPushButton("Translate"),
            QPushButton("Stop"),
        )
        self.language = QLineEdit("French")
        self.mode = QComboBox()
        for name, mode in MODES:
            self.mode.addItem(name, mode)
        self.balance, self.status = QLabel("…"), QLabel("")
        self.provider, self.secret, self.add = QLineEdit(), QLineEdit(), QPushButton("Add key")
        self.provider.setPlaceholderText("Provider, such as openai")
        self.secret.setPlaceholderText("Your key; it goes to the gateway and is not kept here")
        self.secret.setEchoMode(QLineEdit.EchoMode.Password)
        self.fee = QLabel("")
        self.own_key = column(self.fee, row(self.provider, self.secret, self.add))
        self.own_key.hide()
        for label in (self.fee, self.status):
            label.setWordWrap(True)
        self.language.setMaximumWidth(160)
        self.list.setMinimumWidth(160)
        self.setStyleSheet(STYLE)
        self.stop.setEnabled(False)
        for widget, name in (
            (self.list, "Notes"),
            (self.note, "Note"),
            (self.answer, "Answer"),
            (self.language, "Language to translate into"),
            (self.mode, "Who answers"),
        ):
            widget.setAccessibleName(name)
        texts = QSplitter(Qt.Orientation.Vertical)
        texts.addWidget(self.note)
        texts.addWidget(self.answer)
        texts.setSizes([350, 250])
        texts.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        credit = row(QLabel("Answered by"), self.mode, None, QLabel("Credit"), self.balance)
        actions = row(self.summarise, self.translate, QLabel("into"), self.language, None, self.stop)
        split = QSplitter()
        split.addWidget(self.list)
        split.addWidget(column(credit, self.own_key, texts, actions, self.status, margin=10))
        split.setSizes([200, 700])
        self.setCentralWidget(split)

    def _wire(self) -> None:
        self._notes = list(NOTES)
        self.list.addItems([note.partition("\n")[0] for note in self._notes])
        self.list.currentRowChanged.connect(lambda number: self.note.setPlainText(self._notes[number]))
        self.note.textChanged.connect(self._keep)
        self.list.setCurrentRow(0)
        self.summarise.clicked.connect(lambda: self._ask(SUMMARISE))
        self.translate.clicked.connect(lambda: self._ask(TRANSLATE))
        self.stop.clicked.connect(self.asking.stop)
        self.mode.currentIndexChanged.connect(self._choose)
        self.add.clicked.connect(self._add_key)
        self.asking.piece.connect(self._take)
        self.asking.done.connect(self._end)
        self.asking.failed.connect(self._end)
        self.asking.balance.connect(self.balance.setText)
        self.asking.fee.connect(self._tell_fee)

    def _keep(self) -> None:
        self._notes[self.list.currentRow()] = self.note.toPlainText()

    def _ask(self, prompt: str) -> None:
        text = self.note.toPlainText().strip()
        if text:
            self.answer.clear()
            self._busy(True)
            self.status.setText("…")
            self.asking.ask(prompt.format(text=text, language=self.language.text()), self.mode.currentData())

    def _choose(self) -> None:
        own = self.mode.currentData() == "byok"
        self.own_key.setVisible(own)
        if own:
            self.add.setEnabled(False)  # until the fee was shown that adding a key agrees to
            self.asking.tell_fee()

    @Slot(str, str)
    def _tell_fee(self, fee_usd: str, text: str) -> None:
        self._fee_usd = fee_usd
        self.fee.setText(f"{text} By adding a key you agree.")
        self.add.setEnabled(True)

    def _add_key(self) -> None:
        self._busy(True)
        self.asking.add_key(self.provider.text().strip(), self.secret.text().strip(), self._fee_usd)
        self.secret.clear()

    @Slot(str)
    def _take(self, text: str) -> None:
        self.answer.insertPlainText(text)

    @Slot(str)
    def _end(self, said: str) -> None:
        self.status.setText(said)
        self._busy(False)

    def _busy(self, busy: bool) -> None:
        for button in (self.summarise, self.translate, self.mode, self.add):
            button.setEnabled(not busy)
        self.stop.setEnabled(busy)

    def closeEvent(self, event: Any) -> None:
        """Stop what runs."""
        self.asking.close()
        super().closeEvent(event)


def row(*widgets: QWidget | None) -> QWidget:
    """Return widgets side by side; None takes the room that is left."""
    return placed(QHBoxLayout(), widgets, 0)


def column(*widgets: QWidget | None, margin: int = 0) -> QWidget:
    """Return widgets one below the other."""
    return placed(QVBoxLayout(), widgets, margin)


def placed(layout: QBoxLayout, widgets: Sequence[QWidget | None], margin: int) -> QWidget:
    layout.setContentsMargins(margin, margin, margin, margin)
    for widget in widgets:
        if widget is None:
            layout.addStretch()
        else:
            layout.addWidget(widget)
    whole = QWidget()
    whole.setLayout(layout)
    return whole


def main() -> int:
    """Run the app."""
    app = QApplication(sys.argv)
    window = Window(Asking(connect))
    window.show()
    return app.exec()


if __name__ == "__main__":
    sys.exit(main())
