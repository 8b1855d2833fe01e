using Handbook.Models.Generation;
using Handbook.Models.Serving;
using Handbook.Serving;

namespace Handbook.Server.Tests;

/// <summary>A model and adapters over it, asked at the same time.</summary>
[Collection("tensors")]
public sealed class JointAdaptersTests(ServedFixture served) : IClassFixture<ServedFixture>
{
    private static readonly string[] s_names = ["base", "one", "two"];

    [Fact]
    public async Task Answers_with_different_adapters_share_passes_and_have_the_bits_that_each_has_alone()
    {
        using var models = served.Open(new() { MaxRows = 32 });
        Assert.Equal([0, 1, 2], s_names.Select(name => models.Find(name)!.Network.Joint!.Value.Group));
        Assert.Single(s_names.Select(name => models.Find(name)!.Network.Joint!.Value.Network).Distinct());
        const int requests = 24, tokens = 20;
        var expected = Enumerable.Range(0, requests).Select(i => new Generator(Model(models, i).Network).Sample(
            [new SampleRequest(Prompt(i), [0, 1])], Sampling(i))[0]).ToArray();
        // Held up until all are there, so that they run side by side.
        using var held = new ManualResetEventSlim();
        var busy = models.Engine.Run(() => held.Wait(TimeSpan.FromMinutes(1)));
        var asked = Enumerable.Range(0, requests).Select(i => Ask(models, i)).ToArray();
        held.Set();
        Assert.True(await busy);
        var answers = await Task.WhenAll(asked);
        for (var i = 0; i < requests; i++)
            for (var sample = 0; sample < 2; sample++)
            {
                Assert.Equal(expected[i][sample].Tokens, answers[i][sample].Tokens);
                Assert.Equal(expected[i][sample].LogProbs, answers[i][sample].LogProbs);
            }
        // Of 48 answers of up to 20 tokens 32 run at a time: two rounds, and some passes for prompts; apart it were three times as many.
        Assert.InRange(models.Engine.Statistics.Steps, tokens, 4 * tokens);
    }

    private static ServedModel Model(ServedModels models, int i) => models.Find(s_names[i % 3])!;

    private static int[] Prompt(int i) => [.. Enumerable.Range(0, 3 + i * 7 % 19).Select(j => 5 + (j * 11 + i / 6) % 200)];

    private static SamplingOptions Sampling(int i) => new()
    {
        MaxNewTokens = 20,
        Temperature = i % 2 == 0 ? 0 : 1.3,
        Seed = i,
    };

    private static Task<Answer[]> Ask(ServedModels models, int i)
    {
        var (answers, done) = (new Answer[2], new TaskCompletionSource<Answer[]>(TaskCreationOptions.RunContinuationsAsynchronously));
        models.Engine.Submit(new()
        {
            Model = Model(models, i).Network,
            Tokens = Prompt(i),
            Count = 2,
            Sampling = Sampling(i),
            OnToken = (_, _) => true,
            OnAnswer = (sample, answer) => answers[sample] = answer,
            OnEnd = failure =>
            {
                if (failure is null)
                    done.SetResult(answers);
                else
                    done.SetException(failure);
            },
        });
        return done.Task;
    }
}
