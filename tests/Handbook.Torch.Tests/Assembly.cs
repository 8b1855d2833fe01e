// Tensor.LiveCount, the thread count and the random state belong to the process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
