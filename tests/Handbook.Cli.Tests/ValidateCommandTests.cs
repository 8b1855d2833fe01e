using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests;

/// <summary><c>validate</c> sees what would stop a run, all of it at once.</summary>
public sealed class ValidateCommandTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_recipe_with_everything_in_place_is_good()
    {
        var outcome = Validate();
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Equal("r.yaml: a good recipe for `handbook sft`. It would train model on rows.jsonl into out.\n"
            + "global batch: per_device_train_batch_size 2 x gradient_accumulation_steps 1 x 1 process = 2 rows a step\n", outcome.Output);
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Fact]
    public void Everything_that_is_missing_is_told_at_once()
    {
        var outcome = Validate("--model_name_or_path=someone/model-7b", "--dataset_name=someone/rows", "--chat_template_path=t.jinja",
            "--tokenizer_name_or_path=tok");
        _run.Refused(outcome, "command line: error: model_name_or_path: someone/model-7b is not on this machine; looked for\n    ",
            _run.At("someone/model-7b"), "      | --model_name_or_path=someone/model-7b\n      |                      ^^^^^^^^^^^^^^^^\n",
            "tokenizer_name_or_path: tok is not on this machine", "dataset_name: someone/rows is not on this machine",
            "chat_template_path: t.jinja does not exist", "4 problems found; nothing was started.", "--keys-only");
        Assert.Equal(0, Validate("--model_name_or_path=someone/model-7b", "--dataset_name=someone/rows", "--keys-only").Code);
    }

    [Fact]
    public void What_a_recipe_names_is_looked_at_although_its_keys_are_wrong()
    {
        var outcome = Validate("--learning_rate=-1", "--lerning_rate=2", "--model_name_or_path=someone/model-7b",
            "--dataset_name=someone/rows", "--max_length=0");
        _run.Refused(outcome, "learning_rate is -1, but must be 0 or greater", "--lerning_rate is not a key of a recipe", "max_length is 0",
            "model_name_or_path: someone/model-7b is not on this machine", "dataset_name: someone/rows is not on this machine",
                "5 problems found; nothing was started.");
        outcome = Validate("--learning_rate=fast", "--output_dir=model");
        _run.Refused(outcome, "learning_rate is \"fast\", not a number", "output_dir model is also the folder of model_name_or_path",
            "2 problems found; nothing was started.");
    }

    [Theory]
    [InlineData("dataset_mixture: {datasets: [{id: rows.jsonl}], test_split_size: 8}",
        "test_split_size is 8, which holds out 8 of 8 rows and leaves none to train on")]
    [InlineData("dataset_mixture: {datasets: [{id: rows.jsonl}], test_split_size: 1000}",
        "test_split_size is 1000, which holds out 1000 of 8 rows")]
    [InlineData("dataset_mixture: {datasets: [{id: rows.jsonl, weight: 0.5}], test_split_size: 4}",
        "test_split_size is 4, which holds out 4 of 4 rows")]
    [InlineData("dataset_mixture: {datasets: [{id: rows.jsonl, weight: 0.2}], test_split_size: 0.05}",
        "test_split_size is 0.05, which holds out 1 of 1 rows")]
    [InlineData("dataset_mixture: {datasets: [{id: rows.jsonl, weight: 0.1}]}", "of 8 rows the weights take none")]
    [InlineData("dataset_mixer: {rows.jsonl: 0.1}\ndataset_splits: [train]\npacking: false", "of 8 rows the weights take none")]
    [InlineData("dataset_mixer: {rows.jsonl: 1.0}\ndataset_splits: [train]\nmax_length: 4096", "not enough for one packed row of 4096")]
    [Trait("speed", "slow")]
    public void Rows_that_do_not_suffice_are_told_before_the_run(string data, string message)
    {
        _run.Write("r.yaml", TinyRun.Recipe.Replace("dataset_name: rows.jsonl", data)
            .Replace(data.Contains("max_length") ? "max_length: 64\n" : "\n\n", data.Contains("max_length") ? "" : "\n\n"));
        _run.Refused(Validate(), message, "nothing was started");
        _run.Refused(_run.Sft(), message);
    }

    [Theory]
    [InlineData("validate")]
    [InlineData("sft")]
    public void Rows_that_fill_one_packed_row_are_told(string command)
    {
        const string warning = "warning: all 8 rows fit into one packed row of max_length 4096";
        Assert.Contains(warning, SmallModel.Succeed(_run.Handbook.Run(command, "r.yaml", "--packing", "--max_length=4096")).Error);
        Assert.DoesNotContain("packed row",
            SmallModel.Succeed(_run.Handbook.Run(command, "r.yaml", "--packing", "--output_dir=other")).Error);
    }

    [Fact]
    public void The_global_batch_and_its_factors_are_printed_at_the_start() =>
        Assert.Contains("global batch: per_device_train_batch_size 2 x gradient_accumulation_steps 3 x 1 process = 6 rows a step\n",
            SmallModel.Succeed(_run.Sft("--gradient_accumulation_steps=3")).Error);

    [Fact]
    public void An_adapter_without_its_model_is_told()
    {
        _run.Write("adapter/adapter_config.json", """{"base_model_name_or_path": "org/base"}""");
        _run.Write("adapter/adapter_model.safetensors", "\u0002\0\0\0\0\0\0\0{}");
        foreach (var outcome in new[] { Validate("--model_name_or_path=adapter", "--tokenizer_name_or_path=model"),
            _run.Sft("--model_name_or_path=adapter"), _run.Handbook.Run("generate", "adapter", "Hello") })
            _run.Refused(outcome, "adapter is an adapter of org/base, which is not found");
    }

    [Fact]
    public void A_model_in_the_hub_s_cache_is_found_by_its_name_and_a_data_set_too()
    {
        TinyRun.Copy(_run.At("model"), _run.At("home", "hub", "models--org--tiny-1.5", "snapshots", "abc"));
        _run.Write("home/hub/models--org--tiny-1.5/refs/main", "abc");
        _run.Write("home/hub/datasets--org--rows/snapshots/def/train.jsonl", _run.Read("rows.jsonl"));
        _run.Write("home/hub/datasets--org--rows/refs/main", "def");
        var environment = new Dictionary<string, string> { ["HF_HOME"] = _run.At("home") };
        var outcome = _run.Handbook.Run(["sft", "r.yaml", "--model_name_or_path=org/tiny-1.5", "--dataset_name=org/rows"],
            TimeSpan.FromMinutes(2), environment);
        SmallModel.Succeed(outcome);
        var card = _run.Read("out/README.md");
        Assert.Contains("base_model: org/tiny-1.5\ndatasets:\n- org/rows\n", card);
        Assert.Contains("./handbook chat out\n", card);
    }

    [Fact]
    public void The_card_names_local_paths_as_such_and_the_folder_instead_of_a_name_on_the_hub()
    {
        TinyRun.Copy(_run.At("model"), _run.At("models", "mine"));
        SmallModel.Succeed(_run.Sft("--model_name_or_path=models/mine", "--hub_model_id=someone/new-model"));
        var card = _run.Read("out/README.md");
        Assert.Contains("This model is a fine-tuned version of models/mine on the rows.jsonl dataset.", card);
        Assert.DoesNotContain("huggingface.co/models/mine", card);
        Assert.DoesNotContain("base_model:", card);
        Assert.Contains("# new-model", card);
        Assert.Contains("./handbook chat out\n", card);
        Assert.DoesNotContain("someone/new-model", card);
    }

    [Fact]
    public void A_template_is_found_beside_the_recipe_and_among_the_models()
    {
        _run.Write("recipes/r.yaml", TinyRun.Recipe + "chat_template_path: own.jinja\n");
        _run.Write("recipes/own.jinja", TinyRun.Template);
        var outcome = _run.Handbook.Run("validate", "recipes/r.yaml");
        Assert.True(outcome.Code == 0, outcome.Error);
        _run.Write("models/org/chat-3B/chat_template.jinja", TinyRun.Template);
        var found = _run.Handbook.Run(["validate", "r.yaml", "--chat_template_path=org/chat-3B"], TimeSpan.FromMinutes(1),
            new Dictionary<string, string> { ["HANDBOOK_MODELS"] = _run.At("models") });
        Assert.True(found.Code == 0, found.Error);
        _run.Refused(Validate("--chat_template_path=org/chat-3B"), "chat_template_path: org/chat-3B is not on this machine; looked for\n",
            _run.At("org/chat-3B"));
    }

    [Theory]
    [InlineData("--dataset_name=rows", "rows: has no split \"train\"")]
    [InlineData("--text_column=x --dataset_name=odd.jsonl", "odd.jsonl: has the columns")]
    [InlineData("--output_dir=model", "output_dir model is also the folder of model_name_or_path")]
    [InlineData("--model_name_or_path=strange", "model_type")]
    [InlineData("--model_name_or_path=empty", "config.json does not exist")]
    [InlineData("--dataset_train_split=test --eval_strategy=steps", "makes the rows trained on (test) those held out (test)")]
    [InlineData("--dataset_train_split=train --dataset_test_split=train[90%:] --eval_strategy=steps", "those held out")]
    public void What_would_stop_the_run_stops_here(string words, string message)
    {
        _run.Write("rows/validation.jsonl", _run.Read("rows.jsonl"));
        _run.Write("odd.jsonl", "{\"first\": 1, \"second\": 2}\n");
        Directory.CreateDirectory(_run.At("empty"));
        TinyRun.Copy(_run.At("model"), _run.At("strange"));
        _run.Replace("strange/config.json", "\"llama\"", "\"mamba\"");
        _run.Refused(Validate(words.Split(' ')), message, "nothing was started");
    }

    [Theory] // the model has 64 positions; a row with a long answer reaches beyond them
    [InlineData("validate", "warning: max_length is 200, but the model was made for 64 positions")]
    [InlineData("sft", "warning: 1 row is longer than the 64 positions")]
    public void Rows_beyond_the_model_s_positions_are_told(string command, string warning)
    {
        _run.Write("rows.jsonl",
            _run.Read("rows.jsonl")
            + $$"""{"messages": [{"role": "user", "content": "zzz?"}, {"role": "assistant", "content": "{{string.Concat(Enumerable.Repeat("zq ", 40))}}"}]}""" + "\n");
        Assert.Contains(warning, SmallModel.Succeed(_run.Handbook.Run(command, "r.yaml", "--max_length=200")).Error);
        Assert.DoesNotContain("positions", SmallModel.Succeed(_run.Handbook.Run(command, "r.yaml", "--output_dir=short")).Error);
    }

    [Theory]
    [InlineData("validate")]
    [InlineData("dpo")]
    public void A_column_of_verdicts_that_is_not_read_is_told(string command)
    {
        _run.Write("pairs.jsonl",
            string.Concat(Enumerable.Range(0, 8)
            .Select(i =>
            $$"""{"prompt": "number {{i}}?", "chosen": " it is {{i}}", "rejected": " it is the answer", "preference": {{1 + i % 2}}}"""
            + "\n")));
        string[] words = [command, "r.yaml", "--dataset_name=pairs.jsonl", .. command == "validate" ? ["--method", "dpo"]
            : Array.Empty<string>()];
        Assert.Contains("note: pairs.jsonl: the column preference is not read", SmallModel.Succeed(_run.Handbook.Run(words)).Error);
    }

    [Fact]
    public void Data_on_the_command_line_takes_the_place_of_the_file_s()
    {
        _run.Write("r.yaml", TinyRun.Recipe.Replace("dataset_name: rows.jsonl", "dataset_mixer:\n  absent: 1.0\ndataset_splits: "
            + "[train, test]"));
        var outcome = Validate("--dataset_name=rows.jsonl");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("note: dataset_mixer is left out: --dataset_name names the data", outcome.Error);
        Assert.Contains("note: dataset_splits is left out: --dataset_name names the data", outcome.Error);
    }

    [Theory]
    [InlineData("/proc/x", "output_dir /proc/x cannot be made: /proc takes no folders")]
    [InlineData("/proc/x/y", "output_dir /proc/x/y cannot be made: /proc takes no folders")]
    [InlineData("rows.jsonl/out", "rows.jsonl is a file, not a folder")]
    [Trait("speed", "slow")]
    public void An_output_folder_that_cannot_be_made_is_told_before_the_run(string output, string message)
    {
        _run.Refuses([$"--output_dir={output}"], message);
        var before = Directory.GetFileSystemEntries(_run.Handbook.Folder);
        _run.Refused(Validate($"--output_dir={output}"), message, "1 problem found; nothing was started.");
        Assert.Equal(before, Directory.GetFileSystemEntries(_run.Handbook.Folder));
        Assert.Equal(0, Validate("--output_dir=new/deep/out").Code);
        Assert.Equal(before, Directory.GetFileSystemEntries(_run.Handbook.Folder));
    }

    [Fact]
    public void An_output_folder_that_may_not_be_written_is_told()
    {
        const string mount = "mkdir -p small && mount -t tmpfs -o ro none small";
        Assert.SkipUnless(_run.Handbook.RunOther("unshare", "-rm", "sh", "-c", mount).Code == 0, "mounting is not allowed here");
        _run.Refused(_run.Handbook.RunOther("unshare", "-rm", "sh", "-c", mount + " && exec \"$0\" \"$@\"", "dotnet",
            HandbookProcess.ProgramFile, "validate", "r.yaml", "--output_dir=small"), "output_dir", "small: the file system is read-only");
    }

    [Fact]
    public void A_method_that_was_guessed_is_named_with_the_way_to_name_another()
    {
        _run.Write("pref.yaml", TinyRun.Recipe.Replace("rows.jsonl", "pairs.jsonl"));
        _run.Write("pairs.jsonl", """{"prompt": "number 1?", "chosen": " it is 1", "rejected": " it is 2"}""" + "\n");
        _run.Refused(_run.Handbook.Run("validate", "pref.yaml"), "handbook dpo",
            "note: the recipe was read for `handbook sft`, as its path and keys tell; --method names another, e.g. --method dpo");
        var outcome = _run.Handbook.Run("validate", "pref.yaml", "--method", "dpo");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.DoesNotContain("was read for", outcome.Error);
        Assert.DoesNotContain("was read for", _run.Handbook.Run("validate", "pref.yaml", "--method", "sft").Error);
    }

    [Fact]
    public void A_checkpoint_that_is_not_there_is_told_before_the_run() =>
        _run.Refused(Validate("--resume_from_checkpoint=checkpoint-9"), "checkpoint-9 does not exist");

    [Theory]
    [InlineData("nope", "write the template itself, name a file with chat_template_path, or remove the key")]
    [InlineData("tool_uze", "did you mean tool_use?")]
    [InlineData("t.jinja", "a file or a folder is named with chat_template_path: t.jinja")]
    [Trait("speed", "slow")]
    public void A_chat_template_that_is_neither_a_template_nor_a_name_is_refused(string template, string fix)
    {
        _run.Write("t.jinja", TinyRun.Template);
        _run.Write("model/additional_chat_templates/tool_use.jinja", TinyRun.Template);
        _run.Write("model/chat_template.jinja", TinyRun.Template);
        var message = $"chat_template is \"{template}\", which is neither a template in Jinja nor the name of one of the tokenizer's";
        _run.Refused(Validate($"--chat_template={template}"), message, fix);
        _run.Refuses([$"--chat_template={template}"], message, fix);
        Assert.Equal(0, Validate("--chat_template=tool_use").Code);
        Assert.Equal(0, Validate($"--chat_template={TinyRun.Template}").Code);
    }

    [Fact]
    public void Demo_data_does_not_write_over_a_file()
    {
        _run.Write("file", "mine");
        _run.Refused(_run.Handbook.Run("demo-data", "--output", "file"), "file is a file, not a folder");
        _run.Refused(_run.Handbook.Run("demo-data", "--output", "file/below"), "file");
        Assert.Equal("mine", _run.Read("file"));
    }

    [Fact]
    public void Demo_data_leaves_nothing_on_a_full_disk()
    {
        const string mount = "mkdir -p small && mount -t tmpfs -o size=100k none small";
        Assert.SkipUnless(_run.Handbook.RunOther("unshare", "-rm", "sh", "-c", mount).Code == 0,
            "mounting a small file system is not allowed here");
        var outcome = _run.Handbook.RunOther("unshare", "-rm", "sh", "-c",
            mount + " && \"$0\" exec \"$@\"; code=$?; ls -A small; exit $code", "dotnet", HandbookProcess.ProgramFile, "demo-data",
            "--output", "small/data");
        _run.Refused(outcome, "the disk is full");
        Assert.Equal("", outcome.Output);
    }

    private Outcome Validate(params string[] overrides) => _run.Handbook.Run(["validate", "r.yaml", .. overrides]);
}
