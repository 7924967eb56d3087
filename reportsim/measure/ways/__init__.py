"""How results are learned that do not come as an answer: callbacks, polling, streams."""
