"""Personal data out of a prompt before it leaves for a cloud, and back into the answer.

Pure: no clock, no database, no network. See docs/reference/privacy.md for what it finds and what it does not.
"""

from apps.gateway.privacy.detect import DETECTORS
from apps.gateway.privacy.redact import Redactor
from apps.gateway.privacy.restore import Restorer

__all__ = ["DETECTORS", "Redactor", "Restorer"]
