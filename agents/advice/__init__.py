"""What to write into ``memory.zswap.proactive_writeback``, without any learning: try it all in the model."""
