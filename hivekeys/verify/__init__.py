"""The security checklist: questions to hosts, checks of the answers, and reports."""
