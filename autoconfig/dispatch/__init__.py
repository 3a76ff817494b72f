"""The way from messages on a queue to calls of the handler: the dispatcher's thread and what it uses."""
