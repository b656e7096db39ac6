-- Of which threads something was erased: all of them, or some texts.
SELECT thread_id, whole FROM erasures;
