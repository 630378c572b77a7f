"""How a share of exact headers rises with the signal, and where it passes 50 and 90 %."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import isotonic_regression


def crossing(levels_db: Sequence[float], shares: Sequence[float], share: float) -> float:
    """Level at which a share is reached, by linear interpolation.

    A better signal does not make a decoder worse: the shares are first replaced by the rising sequence that is nearest
    to them (isotonic regression), so that chance at one level does not decide.

    Parameters
    ----------
    levels_db
        Rising, of two levels or more. [dB]
    shares
        Share of exact headers at each of them, 0 to 1.
    share
        What is to be reached, above 0.

    Returns
    -------
    level_db
        NaN where it is not reached, and the lowest level where it is reached there already. [dB]
    """
    rising = np.asarray(isotonic_regression(np.asarray(shares, np.float64)).x)
    reached = np.flatnonzero(rising >= share - 1e-12)
    if reached.size == 0:
        return float("nan")
    k = int(reached[0])
    if k == 0:
        return float(levels_db[0])
    part = (share - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(levels_db[k - 1] + part * (levels_db[k] - levels_db[k - 1]))
