namespace Handbook.Testing;

/// <summary>Tests that make tensors: one at a time, because live counts and threads belong to the process.</summary>
[CollectionDefinition("tensors", DisableParallelization = true)]
public sealed class UsesTensors;
