"""
The benchmark suite: ``python -m benchmarks``.

Not part of the package. It runs a load server and each client in processes of their own, over loopback, on Linux.
"""
