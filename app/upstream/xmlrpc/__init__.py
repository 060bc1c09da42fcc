"""The XML-RPC codec: bytes to a safe tree, the tree to values, values to bytes."""
