-- Every open session, with the daemon that runs its agent.
SELECT thread_id, id, runner FROM projection_sessions WHERE ended_at IS NULL;
