"""Every row: how it is measured, the value that it must reach, and the aim."""

from typing import Final

from benchmarks import rows_agents as agents
from benchmarks import rows_checkpoints as checkpoints
from benchmarks import rows_commands as commands
from benchmarks import rows_erasure as erasure
from benchmarks import rows_import as imports
from benchmarks import rows_peers as peers
from benchmarks import rows_processes as processes
from benchmarks import rows_reads as reads
from benchmarks import rows_shared as shared
from benchmarks.harness import Row

ROWS: Final = (
    Row("pipelined", "durable commands/s ÷ the floor of both walls, 1 ÷ (1/a + 1/e)", "≥", 0.25, 0.5,
        commands.pipelined),
    Row("one at a time", "dispatch p50 − p50 of a bare commit of one row", "≤", 0.5, 0.5, commands.one_at_a_time, "ms"),
    Row("read", "pipelined `setting/list`/s ÷ echoes/s of stock pygls", "≥", 8, 20, reads.read),
    Row("codex: list", "its `thread/list` p50 ÷ ours, each of 5,000 threads, pages of 25", "≥", 5, 20, peers.codex),
    Row("codex: rename", "its `thread/name/set` p50, not synced ÷ our `RenameThread` p50, synced", "≥", 1.5, 4,
        peers.codex),
    Row("append: peers", "events/s in process, 500 at a time ÷ the faster of two event stores with the same rows", "≥",
        1.5, 2.5, peers.append),
    Row("append: floor", "events/s in process, 500 at a time ÷ plain sqlite3 writing the rows that they became", "≥",
        0.6, 0.6, peers.append),
    Row("start", "spawn to `initialize` answered ÷ the imports alone", "≤", 1.2, 1.0, processes.start),
    Row("first list", "spawn to `thread/list` answered ÷ to `initialize`, both in one write", "≤", 1.3, 1.1,
        processes.start),
    Row("start with history", "1,000,000 events and 50,000 threads ÷ an empty database", "≤", 1.1, 1.0,
        processes.start_with_history),
    Row("list with history", "p95 of `thread/list`, pages of 50: 50,000 threads ÷ 100 threads", "≤", 1.5, 1.1,
        reads.list_with_history),
    Row("read with history", "`thread/read` p50, the last page: a thread of 2,000 turns ÷ one of 20", "≤", 1.2, 1.0,
        reads.read_with_history),
    Row("replay over the pipe", "`event/list` events/s ÷ plain SELECT of the same rows", "≥", 0.4, 0.8, reads.replay),
    Row("rebuild", "1,000,000 events: events/s ÷ plain sqlite3 writing the rows that they became", "≥", 0.6, 0.6,
        reads.rebuild),
    Row("streaming", "CPU of the last 1,000 of 50,000 deltas to one message ÷ of the first 1,000", "≤", 1.1, 1.0,
        commands.streaming),
    Row("redaction", "CPU of redacting a delta of 100 characters before it is decided", "≤", 10, 5, commands.redaction,
        "µs"),
    Row("secure_delete", "events/s in process, 500 at a time ÷ the same without overwriting what is deleted", "≥",
        0.95, 1, erasure.secure_delete),
    Row("erase", "EraseThread of 500 events in a log of 1,000,000, p50", "≤", 500, 200, erasure.erase, "ms"),
    Row("live", "commit in one daemon to notification in another, p50", "≤", 30, 10, processes.live, "ms"),
    Row("fan-out", "50 subscriptions: extra CPU a commit ÷ that of one subscription", "≤", 10, 3, processes.fan_out),
    Row("agent: chunk", "an agent's chunk, from its write to the notification, p50 − the same through a bare relay",
        "≤", 10, 5, agents.chunks, "ms"),
    Row("agent: no linger", "the same with `--linger-ms 0`", "≤", 10, 3, agents.chunks, "ms"),
    Row("agent: CPU", "CPU of the daemon for each chunk, with `--linger-ms 0`", "≤", 2_000, 1_000, agents.chunks, "µs"),
    Row("agent: first chunk", "a prompt to the first chunk of a ready agent, p50", "≤", 50, 20, agents.chunks, "ms"),
    Row("agent: 8 at once", "CPU of the daemon while 8 agents stream 100 chunks a second each", "≤", 60, 40,
        agents.eight_agents, "%"),
    Row("checkpoint: small", "a snapshot of a clean tree of 3,000 files ÷ `git status` of it", "≤", 1.5, 1.5,
        checkpoints.small),
    Row("checkpoint: large", "the same with 100,000 files", "≤", 1.5, 1.5, checkpoints.large),
    Row("checkpoint: prompt", "a prompt to the first chunk of a ready agent, 3,000 files, p50 − without checkpoints",
        "≤", 200, 100, checkpoints.prompt, "ms"),
    Row("checkpoint: disk", "bytes in `.git`: a checkpoint after one of 3,000 files was changed ÷ a commit of the same",
        "≤", 1.5, 1.25, checkpoints.disk),
    Row("memory, idle", "resident ÷ resident with the imports alone", "≤", 1.2, 1.1, processes.memory),
    Row("memory, after events", "resident after 1,000,000 events ÷ before", "≤", 1.3, 1.1, processes.memory),
    Row("disk: deltas", "bytes of log, tables and indexes ÷ bytes of text: 10,000 deltas of 20 bytes at 100/s", "≤",
        2.5, 2.5, processes.idle_and_disk),
    Row("disk: tool results", "the same, 3,000 results of 2.4 kB, each told as pending, running and completed", "≤",
        2.2, 2.2, commands.tool_results),
    Row("import", "MB of sessions of Claude Code imported for each second of CPU", "≥", 8, 20, imports.imports, "MB/s"),
    Row("import: memory", "the most memory that the import had resident", "≤", 150, 80, imports.imports, "MiB"),
    Row("import: disk", "bytes of log, tables and indexes ÷ bytes of text", "≤", 2.2, 2.0, imports.imports),
    Row("import: again", "seconds of a second import, which adds nothing", "≤", 2, 0.5, imports.imports, "s"),
    Row("import: beside", "dispatch p50 of a daemon during the import", "≤", 10, 3, imports.imports, "ms"),
    Row("idle", "CPU of a daemon with subscriptions and nothing to do", "≤", 0.3, 0.1, processes.idle_and_disk, "%"),
    Row("shared: one machine", "a command on a shared log ÷ a bare `append_v1`, p50, both without a round trip", "≤", 3,
        2, shared.shared),
    Row("shared: 8 machines", "8 machines, a round trip of 50 ms: appends/s ÷ those of one bare connection", "≥", 5, 7,
        shared.shared),
    Row("shared: p99", "the same: p99 of a command", "≤", 250, 100, shared.shared, "ms"),
    Row("shared: least", "the same: appends of the machine with the least ÷ with the most", "≥", 0.5, 0.8,
        shared.shared),
    Row("shared: batches", "the same, 500 commands at a time: events/s ÷ those of one bare connection", "≥", 1, 2,
        shared.shared),
    Row("shared: live", "answered on one machine to notified on another, p50 ÷ a round trip of 50 ms", "≤", 3, 2,
        shared.shared),
    Row("shared: start", "spawn to `initialize` answered, with a `log.json` ÷ without", "≤", 1.3, 1.1, shared.shared),
)  # fmt: skip
