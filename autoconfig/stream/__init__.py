"""The way from bytes on a socket to messages on a queue: the reader's thread and what it uses."""
