"""A fleet's hosts in shards: each shard's lines are held by a worker, and whoever runs the fleet decides alone."""
