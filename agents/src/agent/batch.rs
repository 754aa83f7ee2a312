//! How far a question is that is asked by batch: each stage is recorded before the next begins.

use aios_core::id::ContentHash;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Turn;
use crate::event::digest;
use crate::kernel::Work;
use crate::span::Millis;

/// A question that is asked by batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batched {
    /// Who is asked: provider and name there.
    pub model: String,
    /// Digest of the question.
    pub asked: ContentHash,
    /// What it is called in its batch.
    pub key: String,
    /// When it came to this.
    pub since: Millis,
    /// How far it is.
    #[serde(flatten)]
    pub stage: Stage,
}

/// How far a question is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "lowercase")]
pub enum Stage {
    /// It is to be sent.
    Queued,
    /// It is in a batch, and waited for.
    Sent {
        /// What the provider calls that.
        batch: String,
    },
    /// Nothing comes of it by batch: it is asked directly.
    Left {
        /// Why.
        why: String,
    },
}

impl Batched {
    /// The next stage.
    #[must_use]
    pub fn then(&self, since: Millis, stage: Stage) -> Batched {
        Batched { since, stage, ..self.clone() }
    }

    /// Whether an answer may come by batch.
    pub fn waits(&self) -> bool {
        !matches!(self.stage, Stage::Left { .. })
    }

    /// The provider, and the model's name there.
    pub fn line(&self) -> Option<(String, String)> {
        self.model.split_once('/').map(|(provider, model)| (provider.to_owned(), model.to_owned()))
    }
}

/// What a question is called in a batch: who was killed finds it by that. So many turns were taken before it.
pub fn key(work: &Work, turns: usize, asked: &ContentHash) -> String {
    digest(&json!(["batch", work.task, work.run, work.step, work.attempt, turns, asked])).short(24)
}

/// How far the question is that is next, where it is asked by batch.
pub(super) fn stand(turns: &[Turn]) -> Option<&Batched> {
    let mut before = turns.iter().rev();
    // Whether a dear call is made is asked in between.
    let dear = |turn: &&Turn| match turn {
        Turn::Asks { call, .. } | Turn::Came { call, .. } => call.is_empty(),
        _ => false,
    };
    match before.find(|turn| !dear(turn)) {
        Some(Turn::Batched(batched)) => Some(batched),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use aios_core::id::ContentHash;

    use super::super::talk::{Next, Talk, YES, asked, most};
    use super::super::{Agent, Entry, File, Registry};
    use super::*;
    use crate::event::WorkEvent;
    use crate::failure::Class;
    use crate::model::price::Fine;
    use crate::model::{Answer, Request, Stop};

    const NOTER: &str = "---\ntype: agent\nruntime: model\nmodel: small\nurgency: low\n---\nWrite a note.\n";

    fn entry() -> Entry {
        let version = ContentHash::of(NOTER.as_bytes());
        let file = File { path: "agents/noter.md".into(), name: "noter".into(), version, text: NOTER.into() };
        let (registry, wrong) = Registry::of(&[file]);
        assert_eq!(wrong, vec![]);
        registry.agents["noter"].clone()
    }

    fn talk<'t>(entry: &'t Entry, input: &'t serde_json::Value, turns: &'t [Turn]) -> Talk<'t> {
        Talk { name: "noter", entry, input, outside: false, turns, asker: None }
    }

    fn request(talk: &Talk<'_>) -> Request {
        match talk.next() {
            Next::Ask(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    fn stages(request: &Request) -> [Turn; 3] {
        let queued = Batched {
            model: "test/one/two".into(),
            asked: asked(request),
            key: "k".into(),
            since: 1,
            stage: Stage::Queued,
        };
        assert_eq!(queued.line(), Some(("test".into(), "one/two".into())));
        let sent = queued.then(2, Stage::Sent { batch: "b".into() });
        let left = sent.then(3, Stage::Left { why: "it expired".into() });
        [queued, sent, left].map(Turn::Batched)
    }

    fn answered(request: &Request) -> Turn {
        Turn::Answered {
            model: "test/one".into(),
            asked: asked(request),
            outside: false,
            answer: Answer { text: "A note.".into(), calls: vec![], usage: None, stop: Stop::End },
            counted: most(request),
            cost: Fine(7),
            kept: false,
        }
    }

    #[test]
    fn how_it_is_asked_changes_nothing_of_what_is_asked() {
        let (entry, input) = (entry(), json!({}));
        let first = request(&talk(&entry, &input, &[]));
        let stages = stages(&first);
        for end in 1..=3 {
            let turns = &stages[..end];
            let talk = talk(&entry, &input, turns);
            assert_eq!(request(&talk), first);
            assert!(talk.is_first());
            assert_eq!(talk.batched().map(Batched::waits), Some(end < 3));
        }
        let whole: Vec<Turn> = stages.iter().cloned().chain([answered(&first)]).collect();
        let done = talk(&entry, &input, &whole);
        assert!(matches!(done.next(), Next::Done(_)) && done.batched().is_none() && !done.is_first());
        assert!(done.replay().is_ok());
        assert_eq!(done.prompts(), vec![(asked(&first), Some(first.clone()))]);
        // What was asked by batch is held to what was recorded, as any question is.
        let mut other = whole.clone();
        if let Turn::Batched(batched) = &mut other[0] {
            batched.asked = ContentHash([9; 32]);
        }
        assert_eq!(talk(&entry, &input, &other).replay().unwrap_err().class, Class::LostContext);
    }

    /// Who was told what a dear call costs by batch was not told what it costs else.
    #[test]
    fn a_dear_call_is_granted_as_it_was_asked_for() {
        let (entry, input) = (entry(), json!({}));
        let first = request(&talk(&entry, &input, &[]));
        let [queued, sent, left] = stages(&first);
        let question = Turn::Asks { call: String::new(), question: "may it?".into(), choices: vec![] };
        let yes = Turn::Came { call: String::new(), text: YES.into(), untrusted: false };
        let mut turns = vec![question.clone(), yes.clone(), queued, sent];
        assert!(talk(&entry, &input, &turns).is_granted());
        turns.push(left);
        assert!(!talk(&entry, &input, &turns).is_granted());
        turns.extend([question, yes]);
        let again = talk(&entry, &input, &turns);
        assert!(again.is_granted() && again.batched().is_some_and(|it| !it.waits()));
        assert_eq!(request(&again), first);
    }

    #[test]
    fn the_journal_holds_each_stage() {
        let (entry, input) = (entry(), json!({}));
        let first = request(&talk(&entry, &input, &[]));
        let shapes = [
            json!({"stage": "queued"}),
            json!({"stage": "sent", "batch": "b"}),
            json!({"stage": "left", "why": "it expired"}),
        ];
        for (turn, shape) in stages(&first).into_iter().zip(shapes) {
            let value = json!(turn);
            assert_eq!(value["turn"], "batched");
            for (name, part) in shape.as_object().unwrap() {
                assert_eq!(&value[name], part);
            }
            let (task, run, step) = ("t".into(), "r".into(), "s".into());
            let event = WorkEvent::TurnTaken { task, run, step, attempt: 1, took: Box::new(turn) };
            let back: WorkEvent = serde_json::from_value(json!(event)).unwrap();
            assert_eq!(back, event);
        }
    }

    #[test]
    fn what_a_question_is_called_follows_from_the_work() {
        let work = Work { task: "t".into(), run: "r".into(), step: "s".into(), attempt: 1 };
        let asked = ContentHash([7; 32]);
        let own = key(&work, 0, &asked);
        assert_eq!((own.len(), own.clone()), (24, key(&work, 0, &asked)));
        assert_ne!(own, key(&work, 1, &asked));
        assert_ne!(own, key(&Work { attempt: 2, ..work }, 0, &asked));
    }

    #[test]
    fn urgency_is_a_word_for_models() {
        assert!(Agent::read("noter", NOTER).unwrap().patient);
        assert!(!Agent::read("noter", &NOTER.replace("low", "normal")).unwrap().patient);
        for (from, to) in
            [("urgency: low", "urgency: hgh"), ("runtime: model\nmodel: small", "runtime: template")]
        {
            let wrong = Agent::read("noter", &NOTER.replace(from, to)).unwrap_err();
            assert!(wrong.iter().any(|it| it.what.contains("urgency")), "{wrong:?}");
        }
    }
}
