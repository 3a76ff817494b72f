"""The exit codes, which scripts rely on."""

OK = 0
FAILURE = 1
USAGE = 2
KEY_REJECTED = 3
NOT_READY = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells have it; SIGTERM gives 143
