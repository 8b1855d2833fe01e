using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The keys that say whether and how the trained model is published on the hub.</summary>
public sealed record HubOptions
{
    /// <summary>Publishes the model on the hub, beside the training, which it never holds up or ends.</summary>
    public bool PushToHub { get; init; }

    /// <summary>The repository, <c>owner/name</c> or <c>name</c> for the user's own; null takes the last part of <c>output_dir</c>. It
    /// stands in the model card, too.</summary>
    [Key(Aliases = ["push_to_hub_model_id"])]
    public string? HubModelId { get; init; }

    /// <summary>The owner of the repository, where <c>hub_model_id</c> names none; null for the user.</summary>
    public string? PushToHubOrganization { get; init; }

    /// <summary>What is published, and when.</summary>
    public HubStrategy HubStrategy { get; init; } = HubStrategy.EverySave;

    /// <summary>The token to publish and to download with; null takes <c>HF_TOKEN</c> or what <c>handbook login</c> stored, where it is
    /// better kept. It is written nowhere.</summary>
    [Key(Aliases = ["push_to_hub_token"], IsSecret = true)]
    public string? HubToken { get; init; }

    /// <summary>Whether a new repository is private; null leaves it to its owner's settings.</summary>
    public bool? HubPrivateRepo { get; init; }

    /// <summary>Publishes every save; false leaves out those that a later one has overtaken while another was still on its way.</summary>
    public bool HubAlwaysPush { get; init; }

    /// <summary>The branch that is published to, which is made where it is missing; null for <c>main</c>.</summary>
    [Key(Aliases = ["hub_revision"])]
    public string? HubModelRevision { get; init; }

    /// <summary>The repository as far as the recipe says: <c>owner/name</c>, or <c>name</c> alone.</summary>
    /// <param name="outputDir">The run folder.</param>
    internal string Repository(string outputDir)
    {
        var name = HubModelId ?? RealPath.NameOf(outputDir);
        return PushToHubOrganization is { Length: > 0 } owner && !name.Contains('/') ? $"{owner}/{name}" : name;
    }

    internal void Validate(Diagnostics report)
    {
        if (HubModelId is { } name && !HubCache.IsRepository(name))
            report.Error("hub_model_id", $"is \"{name}\", which is no name of a repository",
                "it is owner/name, or name alone, of letters, digits, dots, dashes and underscores",
                "for example hub_model_id: my-org/my-model");
        if (PushToHubOrganization is { Length: > 0 } owner && (!HubCache.IsName(owner) || owner.AsSpan().ContainsAny("/@")))
            report.Error("push_to_hub_organization", $"is \"{owner}\", which is no name of an owner",
                fix: "for example push_to_hub_organization: my-org");
        if (HubModelRevision is { } branch && !HubCache.IsRevision(branch))
            report.Error("hub_model_revision", $"is \"{branch}\", which is no name of a branch",
                fix: "for example hub_model_revision: v1.0");
    }
}

/// <summary>What is published of a run, and when.</summary>
public enum HubStrategy
{
    /// <summary>The model with every checkpoint that is saved, and everything at the end.</summary>
    [Spelled("every_save")] EverySave,

    /// <summary>Everything, at the end alone.</summary>
    [Spelled("end")] End,

    /// <summary>As <c>every_save</c>, and the newest checkpoint whole, as <c>last-checkpoint</c>.</summary>
    [Spelled("checkpoint")] Checkpoint,

    /// <summary>As <c>every_save</c>, and every checkpoint whole, by its name.</summary>
    [Spelled("all_checkpoints")] AllCheckpoints,
}
