using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Gguf;

/// <summary>GGUF files that are whole, and say something that cannot be.</summary>
[Collection("tensors")]
public sealed class GgufWrongValueTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory, Trait("speed", "slow")]
    [InlineData(false)]
    [InlineData(true)]
    public void Whatever_one_key_says_gives_a_model_or_a_message(bool pieces)
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        var config = pieces ? PublishedConfig.Load(stories) : Some.Llama(("vocab_size", 40));
        var source = pieces ? stories : _folder["seed"];
        if (!pieces)
        {
            WeightFilesWriter.Save(source, NewModel.Tensors(config, 1, DType.Float32));
            config.Save(source);
            File.WriteAllBytes(Path.Combine(source, "tokenizer.json"), LlamaCppAgreementTests.ByteTokenizer(40));
        }
        GgufExport.Write(source, GgufPrecision.All[1], _folder["seed.gguf"]);
        using var seed = GgufFile.Open(_folder["seed.gguf"]);
        var (failures, tried) = (new List<string>(), 0);
        foreach (var entry in seed.Metadata.Entries)
            foreach (var (kind, element, value) in Wrong(entry.Kind, entry.Element, entry.Value))
            {
                var path = _folder["wrong.gguf"];
                var metadata = new GgufMetadata(path);
                foreach (var (key, known, items, other) in seed.Metadata.Entries)
                    if (key != entry.Key)
                        metadata.Add(key, known, other, items);
                    else
                        metadata.Add(key, kind, value, element);
                var said = value is Array list ? $"{list.Length} × {(list.Length > 0 ? list.GetValue(0) : "nothing")}" : $"{value}";
                try
                {
                    GgufWriter.Save(path, metadata, [.. seed.Tensors.Select(tensor => new GgufTensorToSave(tensor.Name, tensor.Shape, tensor.Blocks,
                        stream => stream.Write(seed.Slice(tensor, 0, (int)tensor.ByteCount))))]);
                    tried++;
                    using var file = GgufFile.Open(path);
                    var output = _folder[$"out{tried}"];
                    GgufImport.Write(file, DType.Float16, output);
                    Directory.Delete(output, recursive: true);
                }
                catch (InputException)
                {
                    // told
                }
                catch (Exception failure)
                {
                    failures.Add($"{entry.Key} = {said}: {failure.GetType().Name}: {failure.Message} {failure.StackTrace?.Split('\n').FirstOrDefault()}");
                }
            }
        Assert.True(failures.Count == 0, $"{failures.Count} of {tried}\n{string.Join('\n', failures)}");
        Assert.True(tried > 50);
    }

    private static IEnumerable<(GgufKind Kind, GgufKind Element, object? Value)> Wrong(GgufKind kind, GgufKind element, object value)
    {
        yield return (kind, element, null);
        switch (value)
        {
            case long:
                foreach (var number in (long[])[0, 1, 7, 1_000_000, int.MaxValue, uint.MaxValue])
                    yield return (kind, element, number);
                yield return (GgufKind.Int32, element, -1L);
                yield return (GgufKind.Text, element, "5");
                break;
            case double:
                foreach (var number in (double[])[0, -1, 1e30, double.NaN, double.PositiveInfinity])
                    yield return (kind, element, number);
                break;
            case bool truth:
                yield return (kind, element, !truth);
                break;
            case string text:
                yield return (kind, element, "");
                yield return (kind, element, text + "x");
                break;
            case Array list:
                var half = Array.CreateInstance(list.GetType().GetElementType()!, list.Length / 2);
                Array.Copy(list, half, half.Length);
                yield return (kind, element, half);
                yield return (kind, element, Array.CreateInstance(list.GetType().GetElementType()!, 0));
                if (list.Length > 0 && list is (string[] or long[] or double[]))
                {
                    var other = (Array)list.Clone();
                    other.SetValue(list switch { string[] => "", long[] => 99L, _ => double.NaN }, list.Length - 1);
                    yield return (kind, element, other);
                }
                break;
        }
    }
}
