"""An agent of the Agent Client Protocol, without a model, that does what it is told: `python __main__.py [WORD …]`.

Standard library only. The words of the command line say what it does when `initialize` arrives, before it is answered
and in their order (`start.py` lists these: die, silence, banner, children …), and what it can do afterwards:

| word | the agent |
| --- | --- |
| `no-load`, `no-resume`, `no-close` | does not offer session/load, session/resume, session/close |
| `fork` | offers session/fork: a copy of the whole session |
| `steering` | offers `_session/steering`, and injects what it gets into the running turn |
| `steering-refused`, `steering-turn` | offers it, and answers promptRequired, or starts a turn of its own |
| `steering-lost` | offers it, takes the words, and dies instead of answering |
| `steering-late` | offers it, and answers that it took the words right after it has answered the prompt |
| `steering-hangs` | offers it, and never answers |
| `auth-on-new`, `auth-on-prompt` | refuses these with -32000 until `authenticate` was called |
| `login-terminal`, `login-older` | also offers a login on a terminal, now or as agents did before, if the client can |
| `login-form` | `authenticate` asks to open an address and to fill in a form, before it is answered |
| `login-waits`, `login-refused`, `login-in-vain` | `authenticate` is never answered, is refused, changes nothing |
| `no-login` | offers no way to log in |
| `log-in` | asks for a key on its terminal instead, which is `right`, and exits |
| `demo` | understands the prompts that `make demo` sends to other agents |
| `load-fails` | refuses session/load and session/resume with -32603, though it offers them |
| `resume-replays` | replays the history on session/resume too |
| `early-updates` | sends commands, mode and options, and an unknown notification, before it has opened a session |
| `late-updates` | sends them after that answer |
| `speaks-again` | says something new right after its answer to session/load or session/resume |
| `fork-costs-nothing` | reports the cost of a copy without that of its source |
| `no-settings` | has neither modes nor options |
| `no-settings-again` | tells them when a session is new, but not when it continues; then it is in its first mode |
| `new-hangs` | never answers session/new |
| `stay` | ignores the end of its input and SIGTERM |

The text of a prompt says what happens in the turn: each `script=NAME`, in their order. Without one, it says "You said:"
and the text. `stop=REASON` is the stopReason, end_turn if absent. `file=NAME` is the file of `edit` and `ask-edit`. A
turn that is cancelled stops where it is, and is answered `cancelled`, unless its script says otherwise.

| script | what happens |
| --- | --- |
| `plain` | three chunks without messageId |
| `ids` | two messages of two chunks, with messageIds |
| `thought`, `plan`, `unknown-update`, `empty-chunks` | these updates; the unknown kind is `compaction_update` |
| `tool` | a tool call: pending, in_progress, completed with content and rawOutput |
| `tool-left` | a tool call that stays in_progress |
| `edit` | a tool call that appends a line to a file in the session's folder, with a diff |
| `files` | tool calls that replace the text of each file of `write=A,B`, and remove those of `remove=C,D` |
| `ask` | a tool call and a permission: allow (allow_once) or reject (reject_once). Says "chose ID" or "cancelled" |
| `ask-diff` | the same for `git diff` |
| `ask-kind` | the same, of kind `kind=KIND`, announced as `announced=KIND` |
| `ask-edit` | the same for an edit of a file in the session's folder |
| `ask-twice` | two permissions at the same time |
| `ask-always-first` | two options of kind allow_always, then once, then reject |
| `ask-unannounced` | a permission for a toolCallId of which there is no tool_call |
| `ask-same-id`, `ask-text-id` | a permission whose id is that of the prompt, or is a string |
| `ask-other-session` | a permission under a sessionId that nobody opened (of a subagent) |
| `ask-withdrawn` | a permission that the agent withdraws with $/cancel_request |
| `ask-withdrawn-at-once` | the same in one write, for a call that was not announced |
| `late-ask-withdrawn` | the same right after the answer to the prompt |
| `ask-hangs` | a permission; on cancel the turn does not end until it is answered |
| `elicit` | elicitation/create with a form. Says the action |
| `ask-client` | fs/write_text_file and an unknown request, which must be refused with -32601 |
| `odd-text` | line separators that are not line breaks, U+0000, and half a surrogate pair, in the answer too |
| `unstorable` | an update and a permission that are nested too deeply; says how that one was answered |
| `thousand` | 1,000 updates and the answer in one write |
| `flood` | 5,000 chunks |
| `long-line`, `over-limit` | a chunk of 20 MB in one line, and of 33 MB |
| `banner` | lines that are not messages |
| `usage` | usage_update with a cost that grows by 0.25 in each turn of the session, and 1,000 tokens |
| `usage-answer` | the same tokens, only in the answer |
| `settings` | current_mode_update, config_option_update, available_commands_update, session_info_update |
| `late` | a chunk of the same message right after the answer |
| `late-settings` | `settings` right after the answer |
| `outside` | a tool call and text by itself, half a second after the answer |
| `echo` | the other words of the prompt, one every 20 ms |
| `stream` | a chunk every 20 ms until it is cancelled |
| `timed` | `count=N` chunks (100), one each `every=SECONDS` (0.01), each with the time when it was written |
| `silent` | nothing until it is cancelled |
| `cancel-end-turn` | like `stream`, but answers end_turn |
| `cancel-ignored` | says one chunk, and never ends |
| `cancel-late` | after the cancel it sends a failed tool call and text, and answers half a second later |
| `repeat` | the same 500 characters until it is cancelled |
| `children` | two tools in sessions of their own; $PIDS gets the ids of all |
| `exit` | a line on stderr, and exit 3 |
| `kill` | a line on stderr, and SIGKILL |
| `hold-stdout` | exits with 3 while a child holds its output open |
| `refuse`, `refuse-auth` | the answer is an error: -32603 with data, or -32000 |

A second prompt in a session that has one open is refused with -32600. Variables: $SCRIPTED_LOG gets each message that
arrives, as a line of JSON. $SCRIPTED_LOGIN is a file that is there once somebody has logged in. In $SCRIPTED_SESSIONS,
sessions are kept for the next process: one file each. `wait` waits for the file $GO.
"""

from typing import Any

ANSWER: dict[str, Any] = {
    "protocolVersion": 1,
    "agentInfo": {"name": "scripted", "title": "Scripted Agent", "version": "1.2.3"},
    "agentCapabilities": {
        "loadSession": True,
        "promptCapabilities": {"image": False, "embeddedContext": True},
        "sessionCapabilities": {"resume": {}, "close": {}},
    },
    "authMethods": [{"id": "key", "name": "API key"}],
}
"""The answer to `initialize`, without other words."""
