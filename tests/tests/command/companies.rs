//! The companies of `aios init --template`, each with what happens to it, on one device and on three, and killed all along.
//!
//! `AIOS_CRASH_ALL=1` kills each command at many points in place of a few.

mod company;
mod far;
mod models;
mod scenario;
mod together;
mod twice;

use company::{Company, Faults};
use scenario::{SCENARIOS, Scenario};
use together::Together;

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|it| it.template == name).expect("a scenario")
}

/// Plays it undisturbed, and then with each command killed and given again: what comes of it is the same, and no business act
/// happened twice.
fn holds(name: &str) {
    let scenario = scenario(name);
    let calm = Company::new(scenario, Faults::Trace);
    calm.play();
    let outcome = calm.outcome();
    assert_eq!(outcome.mails, scenario.sends(), "{name}");
    assert!(calm.replays() > 0, "{name}: no agent worked");
    let points = calm.points();
    let mut plans = vec![
        Faults::Named("page.written"),
        Faults::Named("post.delivered"),
        Faults::Named("inbox.told"),
        Faults::At { points: points.clone(), round: 1 },
    ];
    if std::env::var_os("AIOS_CRASH_ALL").is_some() {
        plans.extend((2..24).map(|round| Faults::At { points: points.clone(), round }));
    }
    for faults in plans {
        let what = format!("{name} under {faults:?}");
        let company = Company::new(scenario, faults);
        company.play();
        assert_eq!(company.outcome(), outcome, "{what}");
        assert!(company.killed() > 0 || !company.must_die(), "{what}: nothing was killed");
        company.is_sound();
    }
}

/// Plays it with a model in place of templates, undisturbed, and with each command killed and given again: what comes of it is the same, and
/// agrees with its journal once more without anybody being asked.
fn holds_with_a_model(name: &str) {
    let scenario = scenario(name);
    let provider = models::recorded(name);
    let calm = Company::with(scenario, Faults::Trace, Some(&provider));
    calm.play();
    let outcome = calm.outcome();
    assert_eq!(outcome.mails, scenario.sends(), "{name}");
    let asked = provider.asked().len();
    let work = calm.work();
    assert!(work.values().any(|(done, _)| *done > 0), "{name}: no agent worked: {work:?}");
    assert!(work.values().all(|(_, failed)| *failed == 0), "{name}: {work:?}");
    assert!(calm.replays() > 0, "{name}: no agent worked");
    assert_eq!(provider.asked().len(), asked, "{name}: a replay asks nobody");
    calm.is_sound();

    let company = Company::with(scenario, Faults::At { points: calm.points(), round: 1 }, Some(&provider));
    company.play();
    assert_eq!(company.outcome(), outcome, "{name}, killed");
    assert!(company.killed() > 0, "{name}: nothing was killed");
    let twice = provider.asked().len() - asked;
    assert!(twice <= asked + company.killed(), "{name}: asked {twice} times, and {asked} undisturbed");
    company.replays();
    company.is_sound();
    assert_eq!(provider.unknown(), Vec::<String>::new(), "{name}");
}

#[test]
fn a_consultant_with_a_model() {
    holds_with_a_model("consultant");
}

#[test]
fn a_creator_with_a_model() {
    holds_with_a_model("creator");
}

#[test]
fn a_freelancer_with_a_model() {
    holds_with_a_model("freelancer");
}

#[test]
fn a_product_company_with_a_model() {
    holds_with_a_model("product");
}

#[test]
fn a_client_project_manager_with_a_model() {
    holds_with_a_model("project-manager");
}

#[test]
fn a_micro_saas_with_a_model() {
    holds_with_a_model("micro-saas");
}

/// Plays it on three devices.
fn holds_together(name: &str) {
    let company = Together::new(scenario(name), [&[], &[]]);
    company.play();
    company.agrees();
}

#[test]
fn a_consultant() {
    holds("consultant");
}

#[test]
fn a_consultant_on_three_devices() {
    holds_together("consultant");
}

#[test]
fn a_creator_on_three_devices() {
    holds_together("creator");
}

#[test]
fn a_freelancer_on_three_devices() {
    holds_together("freelancer");
}

#[test]
fn a_product_company_on_three_devices() {
    holds_together("product");
}

#[test]
fn a_client_project_manager_on_three_devices() {
    holds_together("project-manager");
}

#[test]
fn a_micro_saas_on_three_devices() {
    holds_together("micro-saas");
}

/// Daemons die as soon as a mail is told, sent or a file is written, and after that once more at other places.
#[test]
fn a_consultant_on_three_devices_of_which_two_die() {
    let laptop = ["inbox.told=crash", "post.delivered=crash", "inbox.told=crash", "post.delivered=crash"];
    let worker =
        ["page.written=crash", "page.written=crash@2", "page.written=crash@3", "disk.sync_file=crash@40"];
    let company = Together::new(scenario("consultant"), [&laptop, &worker]);
    company.play();
    assert!(company.died() >= 6, "{} died", company.died());
    company.agrees();
}

#[test]
fn a_creator() {
    holds("creator");
}

#[test]
fn a_freelancer() {
    holds("freelancer");
}

#[test]
fn a_product_company() {
    holds("product");
}

#[test]
fn a_client_project_manager() {
    holds("project-manager");
}

#[test]
fn a_micro_saas() {
    holds("micro-saas");
}

/// What a template brings is in force only once it was accepted, and nothing is overwritten.
#[test]
fn a_template_waits_and_overwrites_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let device = aios_tests::device::Device::new(dir.path(), "laptop");
    let root = device.root.to_string_lossy().into_owned();
    std::fs::create_dir_all(&device.root).expect("a folder");
    std::fs::write(device.root.join("README.md"), "mine").expect("a file");
    let said = device.fails(&["init", "--template", "creator", &root], 1);
    assert!(said.contains("README.md") && said.contains("hint: "), "{said}");
    assert!(!device.root.join("workflows").exists() && !device.root.join(".aios").exists());
    std::fs::remove_file(device.root.join("README.md")).expect("a file");
    std::fs::write(device.root.join("mine.md"), "mine").expect("a file");
    assert!(device.fails(&["init", "--template", "sculptor", &root], 2).contains("micro-saas"));
    let made = device.json(&["init", "--template", "creator", &root]);
    let waiting = made["accept"].as_array().expect("a list").len();
    assert_eq!(waiting, 8, "{made}");
    assert_eq!(device.run(&["run", "launch"]).status.code(), Some(1), "it is not in force");
    let accepted = device.json(&["accept"]);
    assert_eq!(accepted["accepted"].as_array().expect("a list").len(), waiting);
    assert_eq!(device.read("mine.md"), "mine");
    device.fails(&["init", "--template", "creator", &root], 1);
}
