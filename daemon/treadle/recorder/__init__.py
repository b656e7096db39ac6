"""Records the session of an editor with its agent, from between the two: `treadle acp`.

`launch` and `pump` are on the way of every byte, so they import nothing of ours and depend on nothing that can wait.
What they carry goes through files (`spool`) to a process that puts it into the log. Imports `transfer`, `agents`,
`core`, `store`, `contract` and `domain`.
"""
