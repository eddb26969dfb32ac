"""Workers: hosts whose lines other processes hold."""
