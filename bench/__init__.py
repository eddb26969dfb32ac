"""`make bench`: the same job by hivekeys and by the tools beside it, on the same hosts, in one interleaved run."""
