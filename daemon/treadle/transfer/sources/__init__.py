"""The histories of other tools as commands: one module per tool, each with `discover` and `read`.

What all tools share is in source.py (sessions, report), lines.py (files), cutter.py (sizes) and thread_writer.py
(commands). Nothing here writes: importer.py submits the commands of a session through the engine.
"""
