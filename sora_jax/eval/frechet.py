"""The Frechet distance between two sets of feature vectors.

Its name says of which features: with those of Inception-v3 it would be FID, with those of I3D FVD.
"""

import numpy as np
from numpy.typing import NDArray


def frechet_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of rows N D and M D (Heusel et al. 2017, eq. 6).

    The Gaussians of means and covariances that the rows have. Few rows make it too large, so that
    only distances of as many rows compare. Needs two rows of each.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"{len(first)} and {len(second)} rows have no covariance; give two of each at least"
        )
    a, b = first.astype(np.float64), second.astype(np.float64)
    gap = a.mean(0) - b.mean(0)
    left, right = _root(a), _root(b)
    # tr (C1 C2)^(1/2) is the sum of the singular values of C1^(1/2) C2^(1/2), also where C1 C2 is
    # singular, as it is with fewer rows than features.
    shared = np.linalg.svd(left @ right.T, compute_uv=False).sum()
    return max(float(gap @ gap + np.sum(left**2) + np.sum(right**2) - 2 * shared), 0.0)


def _root(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """R with R^T R the covariance of the rows, of as few rows as that takes."""
    centred = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    return centred if len(rows) <= rows.shape[1] else np.asarray(np.linalg.qr(centred, mode="r"))
