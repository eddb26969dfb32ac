"""The security checklist: what hosts are asked, what that means, and how it is told."""
