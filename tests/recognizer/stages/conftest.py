"""What the tests of the stages share is in stage_trainings.py, for their scripts too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
