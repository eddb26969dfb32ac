"""Tests of the rehearsal fleet itself: of its pure parts, and of real hosts."""
