-- One message with all of its text.
SELECT whole FROM message_entities WHERE thread_id = :thread AND id = :id;
