-- One activity with all of its detail.
SELECT whole FROM activity_entities WHERE thread_id = :thread AND id = :id;
