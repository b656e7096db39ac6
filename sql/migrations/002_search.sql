-- What is searched. The words alone: the text stays in the tables of the projections, which these name as their content
-- (https://www.sqlite.org/fts5.html, section 4.4.3). A rowid is the sequence of the row in that table.

CREATE VIRTUAL TABLE thread_search USING fts5 (
  title, content = 'projection_threads', content_rowid = 'sequence', tokenize = 'unicode61 remove_diacritics 2'
);

CREATE VIRTUAL TABLE message_search USING fts5 (
  text, content = 'projection_messages', content_rowid = 'sequence', tokenize = 'unicode61 remove_diacritics 2'
);

-- activity_texts: a view beside the projection, of the strings in the detail.
CREATE VIRTUAL TABLE activity_search USING fts5 (
  title, detail, content = 'activity_texts', content_rowid = 'sequence', tokenize = 'unicode61 remove_diacritics 2'
);
