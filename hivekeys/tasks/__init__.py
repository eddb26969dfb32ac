"""The verbs that an operator types. They parse, call the engine, show, and end with an exit code; no SSH here."""
