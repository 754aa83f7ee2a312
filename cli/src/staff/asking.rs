//! Whom models' work asks, and what of it where that is too long for them.

use aios_agents::agent::summary::{self, Cut};
use aios_agents::agent::talk::{self, By, Talk, YES};
use aios_agents::agent::{Choice, Entry, TEMPLATE, Turn, prompt};
use aios_agents::failure::{Class, Failure};
use aios_agents::kernel::{Input, Work};
use aios_agents::model::price::Fine;
use aios_agents::model::settings::Provider;
use aios_agents::model::{Answer, Message, Request, Stop, Usage};
use aios_agents::runtime::Template;
use aios_core::id::ContentHash;

use super::{Doing, Order, Staff, batch};
use crate::caller::{Called, Line};

/// The tier that sums up for others.
const SUMS: &str = "small";
/// No provider's refusal is taken to mean fewer tokens than these.
const LEAST_LEARNED: u64 = 500;

/// A call that is under way.
pub(super) struct Asked {
    pub order: Order,
    pub by: By,
    pub request: Request,
    pub outside: bool,
    pub lines: Vec<Line>,
    /// Whether what is answered is kept.
    pub keeps: bool,
    /// What is summed up, where that is what is asked.
    pub cut: Option<Cut>,
}

impl Asked {
    /// It was answered before: nobody is asked, and nothing is paid.
    pub(super) fn kept(self, answer: Answer) -> Turn {
        let model = self.lines.into_iter().next().map(|line| line.model).unwrap_or_default();
        self.by.took(Turn::Answered {
            model: format!("{}/{}", model.0, model.1),
            asked: talk::asked(&self.request),
            outside: self.outside,
            answer,
            counted: Usage::default(),
            cost: Fine::default(),
            kept: true,
        })
    }
}

/// A question that was too long.
pub(super) struct Refused {
    /// Its digest.
    pub asked: ContentHash,
    /// What was said to it.
    pub why: Failure,
}

/// Who is asked.
pub(super) enum Asks {
    /// These, in turn.
    These(Vec<Line>),
    /// The operator first.
    First(Turn),
}

/// What a template answered where no model is set up.
pub(super) fn filled(request: &Request, outside: bool, text: String) -> Turn {
    Turn::Answered {
        model: TEMPLATE.to_owned(),
        asked: talk::asked(request),
        outside,
        answer: Answer { text, calls: Vec::new(), usage: None, stop: Stop::End },
        counted: Usage::default(),
        cost: Fine::default(),
        kept: false,
    }
}

impl Staff {
    /// What an agent gives that another asks, and that no model is set up for: what its template makes of its input, where it has one.
    pub(super) fn template_of(&self, whose: &Entry, request: &Request) -> Result<Option<String>, Failure> {
        let Some(template) = &whose.agent.template else { return Ok(None) };
        if !self.registry.models.models(&whose.agent.model).is_empty() {
            return Ok(None);
        }
        let Some(Message::User(given)) = request.messages.first() else { return Ok(None) };
        let input = prompt::unquote(given).and_then(|text| serde_json::from_str(text).ok());
        let lost = || Failure::new(Class::LostContext, "what it was given cannot be read");
        Template(template.clone()).fill(&input.ok_or_else(lost)?).map(Some)
    }

    /// How many tokens the models of a choice see at once, each of them: as their file says, and no more than a provider took.
    fn window(&self, choice: &Choice) -> u64 {
        let settings = &self.registry.models;
        let of = |model: &(String, String)| {
            let learned = self.windows.get(model).copied().unwrap_or(u64::MAX);
            settings.window(&model.0, &model.1).min(learned)
        };
        settings.models(choice).iter().map(of).min().unwrap_or(summary::WINDOW)
    }

    /// Who sums up for a model: the tier `small`, where there is one that has a price.
    pub(super) fn summing(&self, own: &Choice) -> Choice {
        let (small, settings) = (Choice::Tier(SUMS.to_owned()), &self.registry.models);
        let models = settings.models(&small);
        let priced = models.iter().all(|(provider, model)| settings.price(provider, model).is_some());
        if models.is_empty() || !priced { own.clone() } else { small }
    }

    /// A question that a model can see at once: as it is; or, of what has become too long for that, the question that has it summed up first.
    pub(super) fn shortened(&self, mut request: Request, choice: &Choice) -> (Request, Option<Cut>) {
        let window = self.window(choice);
        request.most = request.most.min(summary::reply(window));
        match summary::plan(&request, window, self.window(&self.summing(choice))) {
            Some(cut) => (summary::request(&request, &cut), Some(cut)),
            None => (request, None),
        }
    }

    /// A question was too long for a model: what that sees at once is less than was thought. What comes of asking once more, in fewer words.
    pub(super) fn shorter(&mut self, asked: &Asked, place: usize, why: Failure) -> Doing {
        if let Some(line) = asked.lines.get(place) {
            let learned = summary::tokens(&asked.request) / 4 * 3;
            let known = self.windows.entry(line.model.clone()).or_insert(u64::MAX);
            *known = learned.max(LEAST_LEARNED).min(*known);
        }
        let refused = Refused { asked: talk::asked(&asked.request), why };
        match self.try_carry_on(&asked.order, Some(&refused)) {
            Ok(doing) => doing,
            Err(failure) => Doing::Came(Input::Worked { work: asked.order.work.clone(), came: Err(failure) }),
        }
    }

    /// Who is asked, in turn; or what the operator is asked before.
    pub(super) fn lines(
        &self,
        talk: &Talk<'_>,
        by: &By,
        choice: &Choice,
        request: &Request,
        by_batch: bool,
    ) -> Result<Asks, Failure> {
        let mut lines = Vec::new();
        let mut lacks = None;
        let settings = &self.registry.models;
        let mut dearest: Option<(Fine, String)> = None;
        // A batch is sent to one alone.
        let most = if by_batch { 1 } else { usize::MAX };
        for (provider, model) in settings.models(choice).into_iter().take(most) {
            let Some(found) = settings.providers.get(&provider) else { continue };
            // What costs nobody knows what is not called, and nothing else in its place: the operator says what it costs.
            let Some(price) = settings.price(&provider, &model) else {
                let what = format!(
                    "nobody said what {provider}/{model} costs: name it under `prices` where models are set up, and accept that"
                );
                return Err(Failure::new(Class::Budget, what));
            };
            let price = match by_batch {
                true => batch::price(&price, &provider, &model)?,
                false => price,
            };
            talk.affords(by, request, &price)?;
            let line = match self.line(provider.clone(), model.clone(), found) {
                Ok(line) => line,
                Err(what) => {
                    lacks.get_or_insert(what);
                    continue;
                }
            };
            let cost = price.of(&talk::most(request));
            if dearest.as_ref().is_none_or(|(most, _)| cost > *most) {
                let by = if by_batch { " by batch" } else { "" };
                dearest = Some((cost, format!("{provider}/{model}{by}")));
            }
            lines.push(line);
        }
        if let (Some((cost, model)), Some(limit)) = (dearest, settings.asks_above)
            && cost > limit.into()
            && !talk.is_granted()
        {
            let most = talk::most(request);
            let question = format!(
                "may it ask {model}? That may cost up to {cost}, for at most {} tokens in and {} out",
                most.input, most.output
            );
            let choices = vec![YES.to_owned(), "no".to_owned()];
            return Ok(Asks::First(Turn::Asks { call: String::new(), question, choices }));
        }
        match (lines.is_empty(), lacks) {
            (true, Some(what)) => Err(Failure::new(Class::Denied, what)),
            (true, None) => {
                Err(Failure::new(Class::LostContext, format!("no model is set up for `{choice}`")))
            }
            (false, _) => Ok(Asks::These(lines)),
        }
    }

    /// A model with the key of who has it; or why there is none.
    pub(super) fn line(&self, provider: String, model: String, found: &Provider) -> Result<Line, String> {
        let key = match found.key.then(|| self.keys.key(&provider, found.origin())).flatten() {
            Some(Err(why)) => return Err(format!("the key of `{provider}`: {why}")),
            Some(Ok(key)) => Some(key),
            None => None,
        };
        if found.key && key.is_none() {
            let what = match self.keys.origin(&provider) {
                Some(origin) => format!(
                    "the key of `{provider}` was given for {origin}, and it is at {} now",
                    found.origin()
                ),
                None => format!("this device has no key of `{provider}`"),
            };
            return Err(format!("{what}: `aios connect {provider}`"));
        }
        Ok(Line { model: (provider, model), provider: found.clone(), key })
    }

    /// What came of a call.
    pub(super) fn answered(&self, work: Work, asked: Asked, came: Called) -> Input {
        let (place, answer) = match came {
            Ok(came) => came,
            Err(unanswered) => return Input::Worked { work, came: Err(unanswered.failure) },
        };
        let Asked { by, request, outside, lines, keeps, cut, .. } = asked;
        let Some(line) = lines.into_iter().nth(place) else {
            let failure = Failure::new(Class::LostContext, "who answered cannot be told");
            return Input::Worked { work, came: Err(failure) };
        };
        if keeps {
            self.answers.keep(&line, &request, &answer);
        }
        let (provider, model) = line.model;
        let counted = talk::counted(&request, &answer);
        let price = self.registry.models.price(&provider, &model).unwrap_or_default();
        let (model, asked, cost) = (format!("{provider}/{model}"), talk::asked(&request), price.of(&counted));
        let turn = match cut {
            Some(cut) => Turn::Summarised { cut, model, asked, answer, counted, cost },
            None => Turn::Answered { model, asked, outside, answer, counted, cost, kept: false },
        };
        Input::Took { work, turns: vec![by.took(turn)] }
    }
}
