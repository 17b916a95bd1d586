"""The threads of BLAS, which computes products of matrices."""

from contextlib import contextmanager
from functools import cache

import scipy.linalg  # noqa: F401  so that its BLAS is loaded, and found
from threadpoolctl import ThreadpoolController


@cache
def _controller():
    return ThreadpoolController()  # to look for libraries takes milliseconds


@contextmanager
def one_blas_thread():
    """Compute products of matrices on one thread, in a block or a decorated function.

    Those of features and of training are small and many. Threads gain little there on
    an idle machine, and on one with other work they wait for each other most of the
    time.
    """
    with _controller().limit(limits=1, user_api="blas"):
        yield
