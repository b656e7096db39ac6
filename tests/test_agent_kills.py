"""Daemons and agents are killed at random moments: no process is left, no turn stays running, nothing is sent twice."""

from pathlib import Path

from agent_kills import AgentKills
from scripted import linux_only

KILLS = 4


@linux_only
async def test_nothing_is_left_or_sent_twice_when_daemons_and_agents_are_killed(tmp_path: Path) -> None:
    report = await AgentKills(tmp_path / "run", seed=1).run(KILLS)
    assert report.problems == []
    assert report.kills.total() == KILLS
    assert report.sent > 0
