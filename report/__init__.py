"""What a run, a training or a judgement looks like: the plots."""
