//! The companies with models at work in place of templates: what models say was recorded, and lies beside this file.

use std::path::Path;

use aios_tests::provider::Provider;

/// What each agent's model is told that it writes, by the agent's name.
const TASKS: [(&str, &str); 7] = [
    ("invoice", "An invoice goes out."),
    ("reminder", "An invoice is late."),
    ("proposal", "A proposal for a client."),
    ("post", "A post for one channel."),
    ("report", "What users are told of an incident."),
    ("notes", "The notes of a release."),
    ("update", "How a project stands."),
];
/// What a model may look at, and what it is to give.
const CONTRACT: &str = "runtime: model
model: small
outputs: {type: object, required: [text], properties: {text: {type: string, minLength: 20}}, additionalProperties: false}
reads: ['*']
tools: [read]
effects: []
budget: {money: 1, turns: 5}
";

/// A provider that answers as was recorded for a company.
pub fn recorded(template: &str) -> Provider {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("tests/command/companies/answers/{template}.json"));
    Provider::recalls(&std::fs::read_to_string(path).expect("a recording"))
}

/// Has all agents of a vault work with a provider's model, and what they filled in before is what they are to write anew.
pub fn switch(root: &Path, provider: &Provider) {
    let folder = root.join("agents");
    for entry in std::fs::read_dir(&folder).expect("agents") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let (_, task) = TASKS.iter().find(|(other, _)| *other == name).expect("an agent that is known");
        let text = std::fs::read_to_string(&path).expect("an agent");
        let changed = text.replacen("runtime: template\n", CONTRACT, 1);
        let (head, body) = changed.split_once("\n---\n").expect("frontmatter");
        assert_ne!(changed, text, "{name} has a template");
        let text = format!("{head}\n---\n{task} Say in your own words what this says:\n\n{body}");
        std::fs::write(&path, text).expect("an agent");
    }
    let models = format!(
        "---\ntype: models\nproviders:\n  test: {{api: chat, url: 'http://{}/v1', key: false}}\ntiers: {{small: [test/one]}}\nprices: {{'test/*': {{input: 0.25, output: 2}}}}\n---\n",
        provider.at
    );
    std::fs::write(folder.join("models.md"), models).expect("the models");
}
