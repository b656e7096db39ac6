"""One daemon for one client: stdio, JSON-RPC session, handlers of the methods, and requests to the client (pygls).

May import every package except `client` and `cli`. Rules about threads and turns belong in `domain`, SQL in `store`.
"""
