"""JSON-RPC 2.0 on stdin and stdout."""
