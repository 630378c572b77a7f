from __future__ import annotations

import pytest

from app_core.base.finding import Finding, Verdict


@pytest.mark.parametrize("verdict", [Verdict.FAILURE, Verdict.WARNING])
def test_what_is_wrong_must_say_what_mends_it(verdict: Verdict) -> None:
    with pytest.raises(ValueError, match="without a remedy"):
        Finding("disk", verdict, "full")
    assert Finding("disk", verdict, "full", "rm").remedy == "rm"
