// Tensor.LiveCount and the thread count belong to the process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
