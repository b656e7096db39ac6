"""One daemon for one client: stdio, JSON-RPC session, handlers of the methods, and requests to the client (pygls).

Imports every package but `client` and `cli`. Rules about threads and turns stay in `domain`, SQL in `store`.
"""
