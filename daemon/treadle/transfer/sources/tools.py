"""The tools whose histories can be imported."""

from treadle.transfer.sources import claude, codex, copilot, gemini, opencode, qwen

SOURCES = {
    source.tool: source
    for source in (claude.SOURCE, codex.SOURCE, opencode.SOURCE, gemini.SOURCE, qwen.SOURCE, copilot.SOURCE)
}
