"""Questions in, batches and official files out: readers, writers, SynthAQA and the DataModule."""
